#!/usr/bin/env python3
"""Our tokenizer beside Hugging Face's on the same texts in the same run; prints a table.

    .deps/venv/bin/python benchmarks/tokenizer.py [--binaries build/release/bin] [--texts DIR] [--threads 1 2]

Two texts, both out of Debian packages, which apt-get downloads without installing: English prose (the quickstart's
novels and commentary), and mixed script (a toolkit's messages in a hundred languages, by turns). Each has a vocabulary
of 30,522 tokens, learned from it. Hugging Face's side is Tokenizer.encode_batch_fast on lists of 32 documents, the
fastest of its ways that we found; with more than one thread, its own thread pool. The two take turns, and the best of
--rounds passes counts. "Per core" is by processor time, which other programs on the machine disturb less.
"""

import argparse
import gettext
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import fetch_text  # noqa: E402

VOCAB_SIZE = 30522
HF_BATCH = 32
MESSAGES_PER_DOCUMENT = 20
MIXED_PACKAGE = "libgtk-3-common"


def fetch_prose(folder):
    for name in fetch_text.SOURCES:
        fetch_text.fetch(folder, name)
    return [folder / name for name in fetch_text.SOURCES]


def fetch_mixed(folder):
    path = folder / "mixed.txt"
    if not path.exists():
        with tempfile.TemporaryDirectory() as name:
            root = fetch_text.download(MIXED_PACKAGE, Path(name))
            catalogs = sorted((root / "usr/share/locale").glob("*/LC_MESSAGES/*.mo"))
            messages = [list(messages_of(catalog)) for catalog in catalogs]
        # A document a language, by turns, until each is used up.
        documents = []
        for start in range(0, max(map(len, messages)), MESSAGES_PER_DOCUMENT):
            documents += ["\n".join(part[start : start + MESSAGES_PER_DOCUMENT]) for part in messages]
        path.write_text("\n\n".join(filter(None, documents)) + "\n", encoding="utf-8")
    return [path]


def messages_of(catalog):
    with catalog.open("rb") as file:
        # The first is the header. Underscores mark the letter that a key chooses.
        for source, message in sorted(gettext.GNUTranslations(file)._catalog.items(), key=str):
            line = " ".join(message.replace("_", "").split())
            if source and line:
                yield line


def train(binaries, files, folder):
    command = [binaries / "bert-data", "train-tokenizer", "--vocab-size", str(VOCAB_SIZE), "--output", folder]
    subprocess.run([*command, "--force", "--input", *files], check=True, stdout=subprocess.DEVNULL)


def hugging_face_pass(tokenizer, files):
    """In a process of its own, whose environment says how many threads: {"tokens", "wall_s", "cpu_s"}."""
    from tokenizers import Tokenizer

    oracle = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    documents = [part for file in files for part in file.read_text(encoding="utf-8").split("\n\n") if part]
    tokens = 0
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(documents), HF_BATCH):
        encodings = oracle.encode_batch_fast(documents[start : start + HF_BATCH], add_special_tokens=False)
        tokens += sum(map(len, encodings))
    return {"tokens": tokens, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def run_json(command, **environment):
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **environment})
    return json.loads(result.stdout)


def best(passes):
    return min(passes, key=lambda one: one["wall_s"])


def measure(binaries, tokenizer, files, threads, rounds):
    """(theirs, ours), each the best pass."""
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(
            run_json(
                [sys.executable, __file__, "--hugging-face", tokenizer, *files],
                TOKENIZERS_PARALLELISM="true" if threads > 1 else "false",
                RAYON_NUM_THREADS=str(threads),
            )
        )
        ours.append(
            run_json([binaries / "bench_tokenizer", "--tokenizer", tokenizer, "--threads", str(threads), *files])
        )
    if theirs[0]["tokens"] != ours[0]["tokens"]:
        sys.exit(f"{files}: {ours[0]['tokens']} tokens, Hugging Face has {theirs[0]['tokens']}")
    return best(theirs), best(ours)


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--texts", type=Path, default=ROOT / ".quickstart/benchmarks", help="where texts are kept")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hugging-face", type=Path, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hugging_face:
        tokenizer, *files = arguments.hugging_face
        print(json.dumps(hugging_face_pass(tokenizer, files)))
        return
    arguments.texts.mkdir(parents=True, exist_ok=True)
    texts = {"English prose": fetch_prose(arguments.texts), "mixed script": fetch_mixed(arguments.texts)}
    print(f"\n{processor()}\n")
    print("| text | threads | Hugging Face, M tokens/s | ours, M tokens/s | ratio | ratio per core |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, files in texts.items():
        tokenizer = arguments.texts / ("tokenizer-" + name.split()[0].lower())
        train(arguments.binaries, files, tokenizer)
        for threads in arguments.threads:
            theirs, ours = measure(arguments.binaries, tokenizer, files, threads, arguments.rounds)
            speeds = [one["tokens"] / one["wall_s"] / 1e6 for one in (theirs, ours)]
            per_core = theirs["cpu_s"] / ours["cpu_s"]
            print(
                f"| {name} | {threads} | {speeds[0]:.2f} | {speeds[1]:.1f} | {speeds[1] / speeds[0]:.1f}× "
                f"| {per_core:.1f}× |",
                flush=True,
            )


if __name__ == "__main__":
    main()
