#!/usr/bin/env python3
"""Rows as Hugging Face makes them of the same text: truncated ones, and sentence pairs, token by token.

    tests/row_parity_test.py --tool build/release/bin/bert-data
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
try:
    from transformers import BertTokenizerFast
except ImportError as error:
    sys.exit(f"row_parity_test: {error}; scripts/setup.sh --full installs what the parity tests need")

SEED = 20_18
WORDS = """the of and to in that his it was he as with her had not be for at you is but all which she
unacknowledged universally 東京都 Señor naïvely truth, single man possession; good fortune! must want wife?
establishment countenance impossibilities notwithstanding""".split()


def documents():
    """One line each; from a word to many rows."""
    generator = random.Random(SEED)
    lengths = [1, 1, 2, 3, 5, 8, 20, 30, 31, 40, 60, 100, 300] * 20
    return [" ".join(generator.choices(WORDS, k=length)) for length in lengths]


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def rows(tool, dataset, *flags):
    """Every row of both splits."""
    found = []
    for split in ("train", "validation"):
        output = run(tool, "rows", dataset, "--split", split, "--count", 1_000_000, "--json", *flags)
        found += [json.loads(line) for line in output.splitlines()]
    return found


def check_truncated(tool, dataset, texts, tokenizer):
    for length in (8, 32, 128):
        ours = Counter()
        for row in rows(tool, dataset, "--rows", "truncate_pad", "--max-seq-len", length, "--masking-probability", 0):
            assert len(row["segments"]) == 1 and not row["segments"][0]["labels"], row
            ours[tuple(row["segments"][0]["input_ids"])] += 1
        padded = tokenizer(texts, truncation=True, max_length=length, padding="max_length")
        theirs = Counter(
            tuple(ids[: sum(mask)]) for ids, mask in zip(padded["input_ids"], padded["attention_mask"], strict=True)
        )
        assert ours == theirs, f"rows of {length}: {(ours - theirs) or (theirs - ours)}"
    print(f"truncated rows of {len(texts)} documents: equal")


def check_pairs(tool, dataset, tokenizer):
    """[CLS] A [SEP] B [SEP] with the types that the tokenizer gives two texts."""
    found = rows(tool, dataset, "--rows", "sentence_pair", "--max-seq-len", 32, "--masking-probability", 0)
    equal = 0
    for row in found:
        segment = row["segments"][0]
        ids = segment["input_ids"]
        middle = ids.index(tokenizer.sep_token_id)
        # The text of the parts, encoded anew as words that need no normalising, gives the same row.
        parts = [tokenizer.convert_ids_to_tokens(ids[1:middle]), tokenizer.convert_ids_to_tokens(ids[middle + 1 : -1])]
        if any(part[0].startswith("##") for part in parts):
            continue  # Cut within a word.
        texts = [" ".join(part).replace(" ##", "") for part in parts]
        theirs = tokenizer(*texts)
        assert theirs["input_ids"] == ids, (texts, ids)
        assert theirs["token_type_ids"] == segment["token_type_ids"], (texts, segment)
        equal += 1
    assert {row["is_next"] for row in found} == {True, False}
    assert equal > len(found) / 3, f"{equal} of {len(found)} pairs could be compared"
    print(f"{equal} of {len(found)} pairs: equal")


def check_summary(tool, dataset):
    """--summary against the rows themselves."""
    for form in ("packed", "truncate_pad", "sentence_pair"):
        flags = ("--split", "train", "--rows", form, "--max-seq-len", 32)
        listed = [json.loads(line) for line in
                  run(tool, "rows", dataset, *flags, "--count", 1_000_000, "--json").splitlines()]
        segments = [segment for row in listed for segment in row["segments"]]
        used = sum(len(segment["input_ids"]) for segment in segments)
        masked = sum(len(segment["labels"]) for segment in segments)
        expected = (f"train, {form}: {len(listed)} rows of 32; {used} of {32 * len(listed)} slots are used "
                    f"({100 * used / 32 / len(listed):.3f}%), {masked} are masked ({100 * masked / used:.2f}% of them)")
        if form == "sentence_pair":
            true = sum(row["is_next"] for row in listed)
            expected += f"; {100 * true / len(listed):.2f}% of the pairs are true ones"
        summary = run(tool, "rows", dataset, *flags, "--summary")
        assert summary == expected + "\n", (summary, expected)
    print("summaries: equal")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True)
    tool = parser.parse_args().tool
    with tempfile.TemporaryDirectory(prefix="row_parity_test-") as folder:
        folder = Path(folder)
        texts = list(dict.fromkeys(documents()))  # The builder leaves repeated documents out.
        (folder / "text.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        tokenizer_folder, dataset = folder / "tokenizer", folder / "dataset"
        run(tool, "train-tokenizer", "--input", folder / "text.txt", "--vocab-size", 120, "--output", tokenizer_folder)
        run(tool, "build", "--input", folder / "text.txt", "--tokenizer", tokenizer_folder, "--output", dataset,
            "--validation-share", 0.3)
        tokenizer = BertTokenizerFast.from_pretrained(tokenizer_folder)
        check_truncated(tool, dataset, texts, tokenizer)
        check_pairs(tool, dataset, tokenizer)
        check_summary(tool, dataset)


if __name__ == "__main__":
    main()
