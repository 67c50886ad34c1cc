#!/usr/bin/env python3
"""bert-data on files that other programs wrote: gzip, xz, Arrow's Parquet and Zstandard; and killed while it builds.

    tests/data_readers_test.py BINARY_DIR

The same documents, written in every format there is, have to become the same shards.
"""

import gzip
import json
import lzma
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import pyarrow
import pyarrow.parquet

BINARIES = Path()
WORDS = "the of and whale ship sea captain white old man naïve café 東京 boat said he was not a in it 😀".split()


def make_documents(seed, count):
    """Documents of a few paragraphs each, no two of them the same."""
    chosen = random.Random(seed)
    return [
        f"Document {number}.\n" + "\n".join(" ".join(chosen.choices(WORDS, k=30)) for _ in range(chosen.randint(1, 5)))
        for number in range(count)
    ]


def write_text(path, documents):
    content = "\n\n".join(documents).encode() + b"\n"
    if path.suffix == ".zst":
        with pyarrow.CompressedOutputStream(str(path), "zstd") as out:
            out.write(content)
        return
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "wb") as out:
        out.write(content)


def write_json_lines(path, documents):
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "wt", encoding="utf-8") as out:
        for number, document in enumerate(documents):
            # With and without escapes for what is not ASCII.
            out.write(json.dumps({"id": number, "text": document}, ensure_ascii=number % 2 == 0) + "\n")


def write_wikipedia(path, documents, **options):
    """In the layout of the public Wikipedia."""
    table = pyarrow.table(
        {
            "id": [str(number) for number in range(len(documents))],
            "url": [f"https://en.wikipedia.org/wiki/{number}" for number in range(len(documents))],
            "title": [f"Article {number}" for number in range(len(documents))],
            "text": options.pop("text_type", pyarrow.array)(documents),
        }
    )
    pyarrow.parquet.write_table(table, path, **options)


class Scratch(unittest.TestCase):
    def setUp(self):
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def bert_data(self, *arguments, expected=0):
        result = subprocess.run(
            [BINARIES / "bert-data", *map(str, arguments)], capture_output=True, text=True, check=False
        )
        self.assertEqual(result.returncode, expected, result.stderr)
        return result

    def train(self, text):
        tokenizer = self.directory / "tokenizer"
        self.bert_data("train-tokenizer", "--input", text, "--vocab-size", 300, "--output", tokenizer)
        return tokenizer

    def manifest(self, name):
        return json.loads((self.directory / name / "manifest.json").read_text())


class Readers(Scratch):
    def test_every_format_gives_the_same_shards(self):
        documents = make_documents(1, 3000)
        inputs = self.directory / "inputs"
        inputs.mkdir()
        for name in ["a.txt", "a.txt.gz", "a.txt.xz", "a.txt.zst"]:
            write_text(inputs / name, documents)
        for name in ["a.jsonl", "a.ndjson.gz", "a.jsonl.xz"]:
            write_json_lines(inputs / name, documents)
        variants = {
            "snappy": {"row_group_size": 1000},
            "zstd": {"compression": "zstd", "row_group_size": 700},
            "gzip": {"compression": "gzip", "data_page_version": "2.0"},
            "brotli": {"compression": "brotli", "use_dictionary": False},
            "plain": {"compression": "none", "use_dictionary": False, "data_page_size": 4096},
            "delta": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
            "lengths": {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
            "large": {"text_type": lambda texts: pyarrow.array(texts, pyarrow.large_string())},
            "dictionary": {"text_type": lambda texts: pyarrow.array(texts).dictionary_encode()},
            "checksums": {"write_page_checksum": True},
        }
        for name, options in variants.items():
            write_wikipedia(inputs / f"{name}.parquet", documents, **options)
        tokenizer = self.train(inputs / "a.txt")
        found = {}
        for path in sorted(inputs.iterdir()):
            output = self.directory / "datasets" / path.name
            self.bert_data("build", "--input", path, "--tokenizer", tokenizer, "--output", output)
            splits = self.manifest(output)["splits"]
            found[path.name] = json.dumps(splits)
            self.assertEqual(sum(split["documents"] for split in splits.values()), len(documents))
        self.assertEqual(len(found), 17)
        self.assertEqual(len(set(found.values())), 1, found)
        # All at once, every document but the first file's is a duplicate.
        result = self.bert_data(
            *("build", "--input", inputs, "--tokenizer", tokenizer, "--output", self.directory / "all")
        )
        self.assertIn(f"left out: {16 * len(documents)} duplicate, 0 unreadable", result.stdout)

    def test_wikipedia_and_bookcorpus_together(self):
        articles = make_documents(2, 500)
        sentences = [line for document in make_documents(3, 400) for line in document.lower().split("\n")]
        for folder in ("wiki", "books"):
            (self.directory / folder).mkdir()
        write_wikipedia(self.directory / "wiki/train-00000-of-00002.parquet", articles[:300])
        write_wikipedia(self.directory / "wiki/train-00001-of-00002.parquet", articles[300:])
        pyarrow.parquet.write_table(pyarrow.table({"text": sentences}), self.directory / "books/train.parquet")
        tokenizer = self.train(self.directory / "wiki")
        self.bert_data(
            *("build", "--tokenizer", tokenizer, "--output", self.directory / "both"),
            *("--documents", "bookcorpus=rows:64"),
            *("--input", f"wikipedia={self.directory}/wiki/train-*.parquet", f"bookcorpus={self.directory}/books"),
        )
        wikipedia, bookcorpus = self.manifest("both")["corpora"]
        self.assertEqual(wikipedia["documents"], 500)
        self.assertEqual(wikipedia["words"], sum(len(document.split()) for document in articles))
        self.assertEqual(bookcorpus["documents"], -(-len(sentences) // 64))
        self.assertEqual(bookcorpus["words"], sum(len(sentence.split()) for sentence in sentences))
        table = self.bert_data("inspect", self.directory / "both").stdout
        for corpus in (wikipedia, bookcorpus):
            fertility = corpus["tokens"] / corpus["words"]
            row = rf"{corpus['name']} +{corpus['files']} +{corpus['documents']} +{corpus['words']} +{corpus['tokens']}"
            self.assertRegex(table, rf"(?m)^{row} +{fertility:.3f} ")

    def test_cut_off_files_are_named_and_counted(self):
        documents = make_documents(4, 2000)
        inputs = self.directory / "inputs"
        inputs.mkdir()
        write_text(inputs / "whole.txt", documents)
        tokenizer = self.train(inputs / "whole.txt")
        write_text(inputs / "a.txt.gz", documents[::-1])
        write_text(inputs / "b.txt.xz", make_documents(5, 2000))
        write_text(inputs / "c.txt.zst", make_documents(6, 2000))
        write_wikipedia(inputs / "d.parquet", make_documents(7, 2000))
        write_json_lines(inputs / "e.jsonl", make_documents(8, 2000))
        pyarrow.parquet.write_table(pyarrow.table({"body": documents}), inputs / "f.parquet")
        for path in inputs.iterdir():
            if path.name[0] in "abcde":
                path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        build = ["build", "--input", inputs, "--tokenizer", tokenizer, "--output", self.directory / "dataset"]
        stopped = self.bert_data(*build, "--strict", expected=1)
        self.assertRegex(stopped.stderr, r"(?m)^bert-data: \S+a\.txt\.gz:\d+: cut off: the gzip stream ends early")
        self.assertEqual(list(self.directory.glob("dataset*")), [])
        complaints = self.bert_data(*build).stderr
        for pattern in [
            r"a\.txt\.gz:\d+: cut off: the gzip stream ends early, at byte \d+; the rest of the file is left out",
            r"b\.txt\.xz:\d+: cut off: the xz stream ends early, at byte \d+",
            r"c\.txt\.zst:\d+: cut off: the zstd stream ends early, at byte \d+",
            r"d\.parquet: no Parquet, or cut off: ",
            r"e\.jsonl:\d+: not JSON: .*; left out",
            r"f\.parquet: no column 'text'; its columns are body",
        ]:
            self.assertEqual(len(re.findall(pattern, complaints)), 1, f"{pattern} in {complaints}")
        corpus = self.manifest("dataset")["corpora"][0]
        self.assertEqual(corpus["damaged_files"], 5)
        self.assertEqual(corpus["invalid_documents"], 1)
        self.assertGreater(corpus["duplicate_documents"], 500)
        self.bert_data("verify", self.directory / "dataset")


class Killed(Scratch):
    def test_a_killed_build_goes_on_to_the_same_bytes(self):
        inputs = self.directory / "inputs"
        inputs.mkdir()
        for seed in range(8):
            documents = make_documents(100 + seed, 3000)
            (write_text if seed % 2 else write_json_lines)(
                inputs / f"{seed}{'.txt.gz' if seed % 2 else '.jsonl'}", documents
            )
        tokenizer = self.train(inputs / "0.jsonl")
        build = [BINARIES / "bert-data", "build", "--input", inputs, "--tokenizer", tokenizer]
        build += ["--shard-tokens", "150000", "--journal-bytes", "1000000", "--threads", "2", "--output"]
        subprocess.run([*build, self.directory / "reference"], check=True, capture_output=True)
        entry = self.directory / "dataset.journal/build.json"
        kills = resumed = 0
        while True:
            before = entry.read_bytes() if entry.exists() else None
            with subprocess.Popen(
                [*build, self.directory / "dataset"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as process:
                # Each time killed once it has made an entry more, in the middle of what comes behind it.
                while process.poll() is None:
                    try:
                        now = entry.read_bytes()
                    except FileNotFoundError:
                        continue
                    if now != before:
                        process.send_signal(signal.SIGKILL)
                        break
                complaints = process.stderr.read()
                process.wait()
            resumed += "going on with the unfinished build" in complaints
            if process.returncode == 0:
                break
            self.assertEqual(process.returncode, -signal.SIGKILL, complaints)
            kills += 1
            self.assertLess(kills, 200)
        self.assertGreater(kills, 2)
        self.assertEqual(resumed, kills)
        reference, dataset = self.directory / "reference", self.directory / "dataset"
        files = sorted(path.relative_to(reference) for path in reference.rglob("*") if path.is_file())
        self.assertEqual(files, sorted(path.relative_to(dataset) for path in dataset.rglob("*") if path.is_file()))
        for path in files:
            self.assertEqual((reference / path).read_bytes(), (dataset / path).read_bytes(), path)
        self.assertEqual(sorted(path.name for path in self.directory.glob("dataset*")), ["dataset"])


if __name__ == "__main__":
    BINARIES = Path(sys.argv.pop(1))
    unittest.main()
