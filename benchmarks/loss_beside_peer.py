#!/usr/bin/env python3
"""The loss of a job beside Hugging Face transformers trained on the same rows, and the time each takes to get there.

    make quickstart && scripts/setup.sh --full
    .deps/venv/bin/python benchmarks/loss_beside_peer.py --dataset .quickstart/data/english [--steps 200]

Ours is a job of preset tiny (4 layers of 256, pre-LN, bf16) through the whole service: coordinator, dataloader, agent,
one rank. The peer is MegatronBertForMaskedLM with torch.optim.AdamW, bf16 autocast and the same schedule, groups,
clipping, batches and validation rows, masks included, as `bert-data rows` prints them; its weights are drawn by
transformers, so the curves agree but for noise. --seeds runs each that often, which shows how large the noise is.

Prints a table and, with --json, a JSON object. Seconds are of training alone: without start, validation and checkpoints.
"""
import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import cluster  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

SEQ = 128
BATCH = 64
VALIDATION_ROWS = 512
PEAK = 1e-3
PARAMETER_GROUPS = {True: 0.01, False: 0.0}


def spec(options, seed):
    return {
        "name": "loss-beside-peer",
        "preset": "tiny",
        "workers": {"min": 1, "max": 1},
        "data": {"dataset": "english", "max_seq_len": SEQ},
        "train": {
            "steps": options.steps,
            "global_batch_size": BATCH,
            "micro_batch_size": BATCH,
            "optimizer": {"learning_rate": PEAK, "warmup_steps": options.steps // 10},
        },
        "validation": {"every_steps": options.every, "rows": VALIDATION_ROWS},
        "checkpoint": {"every_steps": options.steps},
        "seed": seed,
    }


def masked_rows(dataset, split, seed, count):
    """The rows of a job with this seed, in its order: lists of segments."""
    command = [cluster.BINARIES / "bert-data", "rows", dataset, "--split", split, "--json", "--max-seq-len", SEQ]
    lines = cluster.run_ok([*command, "--seed", seed, "--count", count], seconds=600).splitlines()
    return [json.loads(line)["segments"] for line in lines]


def train_ours(options, seed):
    """[(step, validation loss, seconds of training)]"""
    with tempfile.TemporaryDirectory() as home:
        c = cluster.Cluster(home)
        try:
            shutil.copytree(options.dataset, c.home / "data/english", symlinks=True)
            c.start_coordinator()
            c.start_dataloader()
            c.start_worker(cpu_slots=1, threads_per_slot=options.threads)
            c.wait_for_loader()
            path = c.home / "job.yaml"
            path.write_text(json.dumps(spec(options, seed)))
            job = c.ctl("submit", "-f", path).strip()
            c.wait_for_state(job, "SUCCEEDED", seconds=7200)
            history = c.ctl_json("steps", job)
        finally:
            c.stop()
    spent = {int(s["step"]): BATCH * SEQ / s["tokens_per_second"] for s in history["steps"]}
    seconds = list(itertools.accumulate(spent[step] for step in sorted(spent)))
    return [(int(v["step"]), v["loss"], seconds[int(v["step"]) - 1]) for v in history["validations"]]


def as_batch(rows):
    """A batch for transformers: attention within segments by what is added to the scores, [R, 1, S, S]."""
    shape = (len(rows), SEQ)
    ids, labels = torch.zeros(shape, dtype=torch.int64), torch.full(shape, -100)
    positions = torch.zeros(shape, dtype=torch.int64)
    numbers = torch.full(shape, -1)
    for row, segments in enumerate(rows):
        begin = 0
        for number, segment in enumerate(segments):
            span = slice(begin, begin + len(segment["input_ids"]))
            ids[row, span] = torch.tensor(segment["input_ids"])
            positions[row, span] = torch.arange(len(segment["input_ids"]))
            numbers[row, span] = number
            if segment["positions"]:
                labels[row, begin + torch.tensor(segment["positions"])] = torch.tensor(segment["labels"])
            begin = span.stop
    inside = (numbers[:, :, None] == numbers[:, None, :]) & (numbers >= 0)[:, None, :]
    mask = torch.where(inside, 0.0, torch.finfo(torch.float32).min)[:, None]
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask, "labels": labels}


def train_peer(options, seed):
    """As train_ours."""
    torch.manual_seed(seed)
    torch.set_num_threads(options.threads)
    vocabulary = json.loads((options.dataset / "tokenizer/tokenizer.json").read_text())["model"]["vocab"]
    model = transformers.MegatronBertForMaskedLM(transformers.MegatronBertConfig(
        vocab_size=len(vocabulary), hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=512, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).train()
    groups = {decay: {"params": [], "weight_decay": share} for decay, share in PARAMETER_GROUPS.items()}
    for parameter in model.parameters():
        groups[parameter.dim() > 1]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups.values(), betas=(0.9, 0.999), eps=1e-6, fused=True)
    rows = masked_rows(options.dataset, "train", seed, options.steps * BATCH)
    held_out = masked_rows(options.dataset, "validation", seed, VALIDATION_ROWS)
    warmup, results, seconds = options.steps // 10, [], 0.0
    for step in range(1, options.steps + 1):
        batch = as_batch(rows[(step - 1) * BATCH : step * BATCH])
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(step / warmup, (options.steps - step) / (options.steps - warmup))
        optimizer.step()
        seconds += time.perf_counter() - start
        if step % options.every == 0 or step == options.steps:
            results.append((step, validate(model, held_out), seconds))
    return results


def validate(model, rows):
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, len(rows), BATCH):
            batch = as_batch(rows[begin : begin + BATCH])
            masked = int((batch["labels"] >= 0).sum())
            total += model(**batch).loss.item() * masked
            count += masked
    model.train()
    return total / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=ROOT / ".quickstart/data/english")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=0, help="steps between validations (default: a tenth of all)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.every = options.every or max(1, options.steps // 10)
    sides = {"ours": train_ours, "transformers": train_peer}
    runs = {side: [train(options, seed) for seed in range(1, options.seeds + 1)] for side, train in sides.items()}
    mean = {side: [tuple(sum(column) / len(column) for column in zip(*points, strict=True))
                   for points in zip(*of_side, strict=True)] for side, of_side in runs.items()}
    print(f"{BATCH} rows of {SEQ} a step, {options.threads} threads, mean of {options.seeds} seeds")
    print(f"{'step':>6} {'ours: loss':>11} {'seconds':>8} {'transformers: loss':>19} {'seconds':>8}")
    for ours, theirs in zip(mean["ours"], mean["transformers"], strict=True):
        print(f"{ours[0]:6.0f} {ours[1]:11.4f} {ours[2]:8.1f} {theirs[1]:19.4f} {theirs[2]:8.1f}")
    reached = mean["transformers"][-1]
    ours_there = next((point for point in mean["ours"] if point[1] <= reached[1]), mean["ours"][-1])
    print(f"to {reached[1]:.4f}: {ours_there[2]:.1f} s against {reached[2]:.1f} s, "
          f"{reached[2] / ours_there[2]:.1f} times as fast" + ("" if ours_there[1] <= reached[1] else " (not reached)"))
    if options.json:
        print(json.dumps(runs))


if __name__ == "__main__":
    main()
