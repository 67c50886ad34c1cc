#!/usr/bin/env python3
"""How fast vocabularies are learned, and how good they are, beside Hugging Face's trainers in the same run.

    benchmarks/vocabulary_training.py --tool build/release/bin/bert-data TEXT...

For each kind, in turns: `bert-data train-tokenizer` as a process, from its start to the files it writes, and
`tokenizers` reading the same files in a fresh Python, from the call of train to its return. Both have the same number
of threads; the shortest of --repeat runs counts. Tokens per word are those of one document in fifty, which is left out
of the training text. The pair score has no peer: it stands beside Hugging Face's WordPiece trainer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
HELD_OUT = 50
# Our --type, the peer's.
KINDS = [
    ("wordpiece", "wordpiece"),
    ("wordpiece-score", "wordpiece"),
    ("bpe", "bpe"),
    ("byte-level-bpe", "byte-level-bpe"),
]

PEER = """
import sys, time
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

kind, size, output, *files = sys.argv[1:]
options = {"vocab_size": int(size), "min_frequency": 2, "special_tokens": %r, "show_progress": False}
if kind == "byte-level-bpe":
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
else:
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
        trainer = trainers.BpeTrainer(limit_alphabet=1000, end_of_word_suffix="</w>", **options)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(limit_alphabet=1000, **options)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
start = time.monotonic()
tokenizer.train(files, trainer)
print(time.monotonic() - start)
tokenizer.save(output)
""" % (SPECIAL,)


def split(files, directory):
    """Training text and documents left out of it."""
    documents = [text for file in files for text in file.read_text(encoding="utf-8").split("\n\n") if text.strip()]
    held_out = documents[HELD_OUT - 1 :: HELD_OUT]
    del documents[HELD_OUT - 1 :: HELD_OUT]
    training = directory / "text.txt"
    training.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return training, held_out


def train_ours(tool, kind, size, threads, text, output):
    start = time.monotonic()
    command = [tool, "train-tokenizer", "--input", text, "--type", kind, "--vocab-size", size, "--threads", threads]
    subprocess.run(
        [*map(str, command), "--output", output, "--force"], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.monotonic() - start


def train_theirs(kind, size, threads, text, output):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    result = subprocess.run(
        [sys.executable, "-c", PEER, kind, str(size), output, text], check=True, env=environment, stdout=subprocess.PIPE
    )
    return float(result.stdout)


def tokens_per_word(file, documents):
    from tokenizers import Tokenizer

    encodings = Tokenizer.from_file(str(file)).encode_batch(documents, add_special_tokens=False)
    return sum(len(encoding.ids) for encoding in encodings) / sum(len(text.split()) for text in documents)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True, help="bert-data")
    parser.add_argument("--vocab-size", type=int, default=30522)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("text", type=Path, nargs="+", help="text files, or directories of *.txt")
    arguments = parser.parse_args()
    files = [file for path in arguments.text for file in (sorted(path.glob("**/*.txt")) if path.is_dir() else [path])]
    figures = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        text, held_out = split(files, directory)
        megabytes = text.stat().st_size / 1e6
        print(f"{megabytes:.1f} MB, {arguments.vocab_size} tokens, {arguments.threads} threads")
        print(f"{'':18}{'ours s':>9}{'MB/s':>8}{'HF s':>9}{'ratio':>8}{'ours tokens/word':>18}{'HF':>9}")
        for ours, theirs in KINDS:
            seconds, peer_seconds = [], []
            peer_file = str(directory / f"{theirs}.json")
            common = (arguments.vocab_size, arguments.threads)
            for _ in range(arguments.repeat):
                seconds.append(train_ours(arguments.tool.resolve(), ours, *common, text, directory / ours))
                peer_seconds.append(train_theirs(theirs, *common, str(text), peer_file))
            row = {
                "kind": ours,
                "seconds": min(seconds),
                "peer_seconds": min(peer_seconds),
                "ratio": min(peer_seconds) / min(seconds),
                "tokens_per_word": tokens_per_word(directory / ours / "tokenizer.json", held_out),
                "peer_tokens_per_word": tokens_per_word(peer_file, held_out),
            }
            figures.append(row)
            print(
                f"{ours:18}{row['seconds']:9.2f}{megabytes / row['seconds']:8.1f}{row['peer_seconds']:9.2f}"
                f"{row['ratio']:8.1f}{row['tokens_per_word']:18.4f}{row['peer_tokens_per_word']:9.4f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
