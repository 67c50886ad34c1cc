#!/usr/bin/env python3
"""How fast a dataset is built, and in how much memory, beside the usual way to do it in Python.

    benchmarks/build_dataset.py TEXT_DIR --peer-python PYTHON [--threads 1 2] [--rounds 3]

Both read the same text files (documents between blank lines) with the same tokenizer, which is trained first on the
first file. Ours is `bert-data build`; the peer is Hugging Face's `datasets`, whose map() runs `tokenizers` in as many
processes and saves Arrow files. Ours also splits off validation documents, drops duplicates, digests and syncs
everything. PYTHON has both packages:

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install datasets==4.8.5 tokenizers==0.23.3

Rounds alternate between the two; the figures are medians. Memory is the peak of the proportional set sizes of all
processes of a run, looked at twenty times a second.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PEER = """
import json, sys, time
from pathlib import Path
import datasets
from tokenizers import Tokenizer
directory, tokenizer_file, output, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
datasets.disable_progress_bars()
files = sorted(str(path) for path in Path(directory).glob("*.txt"))
tokenizer = Tokenizer.from_file(tokenizer_file)
def encode(batch):
    encoded = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
    return {"input_ids": [one.ids for one in encoded]}
start = time.monotonic()
options = {"sample_by": "paragraph", "split": "train", "cache_dir": output + "/cache"}
text = datasets.load_dataset("text", data_files=files, **options)
ids = text.map(encode, batched=True, remove_columns=["text"], num_proc=threads if threads > 1 else None)
ids.save_to_disk(output + "/ids")
print(json.dumps({"seconds": time.monotonic() - start, "documents": len(ids)}))
"""


def descendants(pid):
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended meanwhile.
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def memory_of(pid):
    """Proportional set size of a process and its descendants, in bytes."""
    total = 0
    for one in descendants(pid):
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def run(command, **keywords):
    """(seconds, peak bytes, output) of a command."""
    start = time.monotonic()
    peak = 0
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, **keywords) as process:
        while True:
            peak = max(peak, memory_of(process.pid))
            try:
                output, _ = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                pass
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed")
    return time.monotonic() - start, peak, output


def build_ours(options, threads, tokenizer, output):
    seconds, peak, _ = run(
        [options.binary, "build", "--input", options.text, "--tokenizer", tokenizer, "--output", output / "dataset"]
        + ["--threads", threads],
        stderr=subprocess.DEVNULL,
    )
    manifest = json.loads((output / "dataset/manifest.json").read_text())
    return seconds, peak, sum(split["documents"] for split in manifest["splits"].values())


def build_peer(options, threads, tokenizer, output):
    parallel = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    _, peak, printed = run(
        [options.peer_python, "-c", PEER, options.text, tokenizer / "tokenizer.json", output, threads],
        stderr=subprocess.DEVNULL,
        env={**os.environ, **parallel},
    )
    result = json.loads(printed)
    return result["seconds"], peak, result["documents"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="folder of *.txt")
    parser.add_argument("--peer-python", required=True, help="a Python with datasets and tokenizers")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/release/bin/bert-data")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count()])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=30522)
    options = parser.parse_args()
    files = sorted(options.text.glob("*.txt"))
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = Path(scratch) / "tokenizer"
        run(
            [options.binary, "train-tokenizer", "--input", files[0], "--vocab-size", options.vocab_size]
            + ["--output", tokenizer],
            stderr=subprocess.DEVNULL,
        )
        print(f"{len(files)} files, {megabytes:.1f} MB, medians of {options.rounds} rounds")
        print(f"{'threads':>7}  {'':10}{'documents':>10}{'seconds':>9}{'MB/s':>8}{'peak MB':>9}")
        for threads in options.threads:
            results = {build_ours: [], build_peer: []}
            for _ in range(options.rounds):
                for build, measured in results.items():
                    output = Path(scratch) / "output"
                    output.mkdir()
                    measured.append(build(options, threads, tokenizer, output))
                    shutil.rmtree(output)
            speeds = []
            for name, measured in zip(("bert-data", "datasets"), results.values()):
                seconds = statistics.median(result[0] for result in measured)
                peak = max(result[1] for result in measured) / 1e6
                speeds.append(megabytes / seconds)
                print(f"{threads:7}  {name:10}{measured[0][2]:10}{seconds:9.2f}{speeds[-1]:8.1f}{peak:9.0f}")
            print(f"{threads:7}  ratio {speeds[0] / speeds[1]:.1f}", flush=True)


if __name__ == "__main__":
    main()
