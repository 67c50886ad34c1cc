#!/usr/bin/env python3
"""Training steps of Hugging Face's BertForMaskedLM on one CUDA device: the peer of `gpu_step step`.

    benchmarks/gpu_peer.py --rows 256 --seq 128 [--eager]

Full rows without padding, autocast to bf16, torch.compile, fused AdamW, clipping: what a user of transformers would
turn on. Prints one JSON line like that of gpu_step.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import BertConfig, BertForMaskedLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    arguments = parser.parse_args()

    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = BertForMaskedLM(BertConfig(attn_implementation="sdpa")).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = model if arguments.eager else torch.compile(model)
    words = model.config.vocab_size
    ids = torch.randint(0, words, (arguments.rows, arguments.seq), device="cuda")
    masked = torch.rand(arguments.rows, arguments.seq, device="cuda") < 0.15
    labels = torch.where(masked, ids, torch.full_like(ids, -100))

    seconds = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            loss = forward(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    step = statistics.median(seconds[5:])
    result = {
        "peer": "transformers, " + ("eager" if arguments.eager else "compiled"),
        "rows": arguments.rows,
        "seq": arguments.seq,
        "step_ms": round(step * 1e3, 3),
        "rows_per_s": round(arguments.rows / step, 1),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2),
        "loss": round(loss.item(), 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
