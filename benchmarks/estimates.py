#!/usr/bin/env python3
"""Estimates of memory and step time beside what a trainer takes: the table of docs/performance.md, "Estimates".

    benchmarks/estimates.py [--threads 2] [--steps 12]

Each job runs alone on one rank, on rows of real text with a vocabulary of 30,522. Memory is the peak of the trainer's
resident set, the last checkpoint's copy included; a step's time the median over all but the first three.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import cluster  # noqa: E402

VOCAB_SIZE = 30522
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SMALL = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
TINY = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
# Name, model, rows of a step, of a micro-batch, precision.
JOBS = [
    ("tiny, 2 x 128", TINY, 64, 32, "bf16"),
    ("4 x 256", SMALL, 64, 32, "bf16"),
    ("4 x 256", SMALL, 64, 64, "fp32"),
    ("base, 12 x 768", BASE, 8, 8, "bf16"),
    ("base, 12 x 768", BASE, 32, 16, "bf16"),
]


def build_dataset(home):
    """As the tests', with unused tokens behind those that the text gives."""
    cluster.build_dataset(home, data="data/small")
    tokenizer = home / "tokenizer-padded"
    tokenizer.mkdir()
    source = home / "tokenizer-wordpiece-1000"
    tokens = (source / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokens += [f"[unused{i}]" for i in range(VOCAB_SIZE - len(tokens))]
    (tokenizer / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (tokenizer / "tokenizer_config.json").write_text((source / "tokenizer_config.json").read_text())
    build = [cluster.BINARIES / "bert-data", "build", "--input", home / "english.txt", "--tokenizer", tokenizer]
    cluster.run_ok([*build, "--output", home / "data/english", "--validation-share", 0.2])


def peak_bytes(pid):
    try:
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(match.group(1)) * 1024 if match else 0


def run_job(c, steps, model, rows, micro_rows, precision):
    """(peak bytes, seconds a step, measured peak FLOP/s) of the one trainer, and the job's file."""
    spec = {
        **{f"model__{name}": value for name, value in model.items()},
        "workers": {"min": 1, "max": 1},
        "data__max_seq_len": 128,
        "model__max_position_embeddings": 512,
        "train__steps": steps,
        "train__global_batch_size": rows,
        "train__micro_batch_size": micro_rows,
        "train__precision": precision,
        "checkpoint__every_steps": 10**6,
        "validation__samples": 0,
    }
    job = c.submit(**spec)
    peak = 0

    def ended():
        nonlocal peak
        for pid in c.trainers():
            peak = max(peak, peak_bytes(pid))
        return c.job(job)["state"].removeprefix("JOB_STATE_") in ("SUCCEEDED", "FAILED")

    cluster.wait_for(f"{job} has ended", ended, seconds=170, poll_seconds=0.1)
    c.wait_for_state(job, "SUCCEEDED")
    lines = [json.loads(line) for line in (c.home / "checkpoints" / job / "metrics.jsonl").read_text().splitlines()]
    times = [line["time"] for line in lines if line["kind"] == "step"]
    seconds = statistics.median(b - a for a, b in zip(times[2:], times[3:]))
    (rate,) = re.findall(r"device multiplies at ([\d.]+) TFLOP/s", c.logs(job))
    return peak, seconds, float(rate), c.write_spec(**spec)


def estimate(c, spec, tflops):
    command = ["submit", "-f", spec, "--dry-run", "--vocab-size", VOCAB_SIZE, "--device-tflops", tflops]
    code, out, err = c.try_ctl(*command)
    if code != 0:
        raise cluster.ClusterError(f"{command}: exit code {code}\n{out}\n{err}")
    memory, unit = re.search(r"estimate: ([\d.]+) (GB|MB) on rank 0", err).groups()
    (seconds,) = re.findall(r"([\d.]+) s a step", err)
    return float(memory) * {"GB": 1e9, "MB": 1e6}[unit], float(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    print("| job | rows, at once | precision | TFLOP/s | memory: estimate | actual | | step: estimate | actual | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bert-estimates-") as directory:
        c = cluster.Cluster(Path(directory))
        build_dataset(c.home)
        try:
            c.start_coordinator()
            c.start_dataloader()
            c.start_worker(cpu_slots=1, threads_per_slot=arguments.threads)
            c.wait_for_loader()
            for name, model, rows, micro_rows, precision in JOBS:
                peak, seconds, tflops, spec = run_job(c, arguments.steps, model, rows, micro_rows, precision)
                memory, step = estimate(c, spec, tflops)
                print(
                    f"| {name} | {rows}, {micro_rows} | {precision} | {tflops:.3f} "
                    f"| {memory / 1e6:.0f} MB | {peak / 1e6:.0f} MB | {memory / peak - 1:+.0%} "
                    f"| {step:.3f} s | {seconds:.3f} s | {step / seconds - 1:+.0%} |",
                    flush=True,
                )
        finally:
            c.stop()


if __name__ == "__main__":
    main()
