#!/usr/bin/env python3
"""Masked rows a second, ours and our peers', on the same rows in one run.

    scripts/setup.sh --full                     # Torch and transformers
    python3 -m venv /tmp/peers
    echo "$PWD/.deps/venv/lib/python3.11/site-packages" > /tmp/peers/lib/python3.11/site-packages/full.pth
    /tmp/peers/bin/pip install --no-deps -r benchmarks/requirements-streaming.txt
    /tmp/peers/bin/python benchmarks/streaming_peers.py --dataset .quickstart/data/english

The peers are PyTorch's DataLoader with a worker for each core over (1) mosaicml-streaming's StreamingDataset, shuffled,
and (2) a memory-mapped Hugging Face `datasets` table, shuffled, both with transformers' DataCollatorForLanguageModeling
(whole_word_mask=True). They read rows that `bert-data rows` has packed, with the offsets that the collator finds words
by, so they neither tokenize nor pack. Ours: one bert-dataloader and a client for each core, over gRPC on loopback, and
the loader's work alone, in process and on one core (bench_masking). Tokens are those of rows, padding not counted.

Prints a table, and with --json a JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.filterwarnings("ignore")
try:
    import numpy as np
    from datasets import Array2D, Dataset, Features, Sequence, Value, disable_progress_bars
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling
except ImportError as error:
    sys.exit(f"streaming_peers: {error}; the commands at the top of this file install the peers")

ROWS_A_BATCH = 256
WARM_UP_BATCHES = 8


def packed_rows(binaries, dataset, seq, count):
    """Unmasked rows as lists of ids."""
    command = [binaries / "bin/bert-data", "rows", dataset, "--split", "train", "--json", "--masking-probability", 0]
    command += ["--max-seq-len", seq, "--count", count]
    output = subprocess.run(list(map(str, command)), capture_output=True, check=True)
    for line in output.stdout.splitlines():
        yield [token for segment in json.loads(line)["segments"] for token in segment["input_ids"]]


def as_samples(rows, tokenizer, seq):
    """input_ids and offset_mapping of `seq` tokens: a piece that continues a word begins where the last one ended."""
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for row in rows:
        offsets, at = [], 0
        for token in row:
            if token in special:
                offsets.append((0, 0))
                continue
            at += 0 if pieces[token].startswith("##") else 1
            offsets.append((at, at + 1))
            at += 1
        padding = seq - len(row)
        yield {
            "input_ids": np.array(row + [tokenizer.pad_token_id] * padding, dtype=np.int64),
            "offset_mapping": np.array(offsets + [(0, 0)] * padding, dtype=np.int64),
        }


def measure(loader, pad_id, seconds):
    """Tokens a second of whole batches, epochs after one another."""
    tokens = batches = 0
    start = None
    while True:
        for batch in loader:
            batches += 1
            if batches <= WARM_UP_BATCHES:
                start = time.monotonic()
                continue
            tokens += int((batch["input_ids"] != pad_id).sum())
            if time.monotonic() - start > seconds:
                return tokens / (time.monotonic() - start)


def peer_loader(dataset, tokenizer, workers):
    collator = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=True)
    return DataLoader(dataset, batch_size=ROWS_A_BATCH, num_workers=workers, collate_fn=collator, drop_last=True,
                      shuffle=not isinstance(dataset, StreamingDataset), persistent_workers=workers > 0)


def measure_peers(samples, tokenizer, workers, seconds, folder):
    with MDSWriter(out=str(folder / "mds"), compression=None, size_limit=1 << 26,
                   columns={"input_ids": f"ndarray:int64:{samples[0]['input_ids'].size}",
                            "offset_mapping": f"ndarray:int64:{samples[0]['input_ids'].size},2"}) as writer:
        for sample in samples:
            writer.write(sample)
    streaming = StreamingDataset(local=str(folder / "mds"), shuffle=True, batch_size=ROWS_A_BATCH)
    seq = samples[0]["input_ids"].size
    # Arrays of a known shape are read 40 times as fast as lists of lists.
    ids = Sequence(Value("int64"), length=seq)
    features = Features({"input_ids": ids, "offset_mapping": Array2D((seq, 2), "int64")})
    table = Dataset.from_dict({name: [sample[name] for sample in samples] for name in samples[0]}, features=features)
    table.save_to_disk(str(folder / "table"))
    table = Dataset.load_from_disk(str(folder / "table")).with_format("numpy")
    pad = tokenizer.pad_token_id
    return {
        "mosaicml-streaming": measure(peer_loader(streaming, tokenizer, workers), pad, seconds),
        "datasets": measure(peer_loader(table, tokenizer, workers), pad, seconds),
    }


def bench_streaming(binaries, dataset, seq, cores, seconds):
    command = [binaries / "bin/bench_streaming", "--dataset", dataset, "--seq", seq, "--ranks", cores]
    output = subprocess.run([*map(str, command), "--seconds", str(seconds)], capture_output=True, check=True, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def bench_masking(binaries, seq, seconds):
    command = [binaries / "bin/bench_masking", f"--benchmark_filter=FillRows/seq_len:{seq}/whole_word:1/encode:0",
               f"--benchmark_min_time={seconds}", "--benchmark_format=json"]
    output = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(output.stdout)["benchmarks"][0]["tokens/s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=Path, default=Path("build/release"), help="a build folder")
    parser.add_argument("--dataset", type=Path, required=True, help="a dataset that bert-data has built")
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--rows", type=int, default=20000, help="rows that the peers read, over and over")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    disable_progress_bars()
    cores = os.cpu_count()
    tokenizer = BertTokenizerFast.from_pretrained(arguments.dataset / "tokenizer")
    rows = packed_rows(arguments.binaries, arguments.dataset, arguments.seq, arguments.rows)
    samples = list(as_samples(rows, tokenizer, arguments.seq))
    folder = Path(tempfile.mkdtemp(prefix="bench_streaming-"))
    try:
        peers = measure_peers(samples, tokenizer, cores, arguments.seconds, folder)
    finally:
        shutil.rmtree(folder)
    wire = bench_streaming(arguments.binaries, arguments.dataset, arguments.seq, cores, arguments.seconds)
    in_process = bench_masking(arguments.binaries, arguments.seq, min(arguments.seconds, 5))
    ours = wire["tokens_per_s"]
    result = {
        "cores": cores,
        "seq": arguments.seq,
        "peers_tokens_per_s": peers,
        "grpc": wire,
        "in_process_one_core_tokens_per_s": in_process,
        "ratio_grpc": {name: ours / rate for name, rate in peers.items()},
        "ratio_in_process_one_core": {name: in_process / rate for name, rate in peers.items()},
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{cores} cores, rows of {arguments.seq}, whole words masked, million tokens a second")
    for name, rate in peers.items():
        print(f"  {name:<36}{rate / 1e6:10.2f}")
    print(f"  {'ours, gRPC on loopback':<36}{ours / 1e6:10.2f}   "
          + ", ".join(f"{ours / rate:.0f} times {name}" for name, rate in peers.items()))
    print(f"  {'ours, in process, one core':<36}{in_process / 1e6:10.2f}   "
          + ", ".join(f"{in_process / rate:.0f} times {name}" for name, rate in peers.items()))
    print(f"  {wire['bytes_per_token']:.2f} bytes a token on the wire, {wire['wire_mb_per_s']:.0f} MB/s")


if __name__ == "__main__":
    main()
