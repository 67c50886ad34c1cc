#!/usr/bin/env python3
"""Training steps beside Hugging Face's, by turns in one run.

    .deps/venv/bin/python benchmarks/train_step.py [--sizes base mini] [--fills 1.0 0.75] [--rounds 2] [--compile]

Both sides train BertForMaskedLM (110 M parameters, or 4 layers of 256) on rows of 128 tokens with dropout, gradient
clipping and AdamW. The peer is transformers as a user would run it, in fp32 and under bf16 autocast, eager and, with
--compile, through torch.compile; it computes the padding that a fill below 1 leaves. Ours is `train_step` in bf16. The
fastest step of all rounds counts, in real tokens a second.
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEQ = 128
ROWS = {"base": 8, "mini": 32}
MINI = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}


def step_of_peer(model, optimizer, batch, bf16):
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    optimizer.zero_grad()


def run_peer(options):
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(1)
    config = transformers.BertConfig(**(MINI if options.peer == "mini" else {}))
    plain = transformers.BertForMaskedLM(config)
    plain.train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, fused=True)
    model = torch.compile(plain) if options.compile else plain
    rows = ROWS[options.peer]
    share = torch.empty(rows).uniform_(2 * options.fills[0] - 1, 1, generator=generator)
    lengths = (share * SEQ).round().clamp(8, SEQ)
    attention = (torch.arange(SEQ) < lengths[:, None]).long()
    ids = torch.randint(0, config.vocab_size, (rows, SEQ), generator=generator)
    drawn = (torch.rand(rows, SEQ, generator=generator) < 0.15) & attention.bool()
    batch = {"input_ids": ids, "attention_mask": attention, "labels": ids.masked_fill(~drawn, -100)}
    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step_of_peer(model, optimizer, batch, options.bf16)
        times.append(time.perf_counter() - start)
    print(json.dumps({"tokens_per_s": int(attention.sum()) / min(times[1:])}))


def output_of(command):
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def peer_command(options, size, fill, bf16, compiled):
    command = [sys.executable, os.path.abspath(__file__), "--peer", size, "--fills", str(fill)]
    command += ["--threads", str(options.threads), "--steps", str(options.steps)]
    return command + ["--bf16"] * bf16 + ["--compile"] * compiled


def measure(options, size, fill):
    """The fastest of each contender, by its name."""
    ours = [options.binary, "--size", size, "--rows", str(ROWS[size]), "--seq", str(SEQ), "--fill", str(fill)]
    contenders = {"ours": ours + ["--threads", str(options.threads), "--steps", str(options.steps)]}
    for compiled in [False, True] if options.compile else [False]:
        for bf16 in (False, True):
            name = ("bf16" if bf16 else "fp32") + (" compiled" if compiled else "")
            contenders[name] = peer_command(options, size, fill, bf16, compiled)
    best = {}
    for _ in range(options.rounds):
        for name, command in contenders.items():
            result = output_of(command)
            if name not in best or result["tokens_per_s"] > best[name]["tokens_per_s"]:
                best[name] = result
    return best


def print_table(options):
    print("| model | fill | contender | real tokens/s | ours is | of its GEMM rate |")
    print("|---|---:|---|---:|---:|---:|")
    for size in options.sizes:
        for fill in options.fills:
            best = measure(options, size, fill)
            ours = best["ours"]
            share = f"{100 * ours['gflops'] / ours['gemm_gflops']:.0f}% of {ours['gemm_gflops']:.0f} GF/s"
            for name, result in best.items():
                speed = result["tokens_per_s"]
                ratio = "" if name == "ours" else f"{ours['tokens_per_s'] / speed:.2f}×"
                print(f"| {size} | {fill:.0%} | {name} | {speed:,.0f} | {ratio} | {share if name == 'ours' else ''} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(ROOT, "build/release/bin/train_step"))
    parser.add_argument("--sizes", nargs="+", choices=ROWS, default=["base", "mini"])
    parser.add_argument("--fills", nargs="+", type=float, default=[1.0, 0.75])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--peer", choices=ROWS, help="measure Hugging Face alone: one size and fill")
    parser.add_argument("--bf16", action="store_true", help="with --peer: under autocast")
    options = parser.parse_args()
    if options.peer:
        run_peer(options)
    else:
        print_table(options)


if __name__ == "__main__":
    main()
