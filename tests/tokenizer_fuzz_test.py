#!/usr/bin/env python3
"""Differential fuzzing: our token ids and offsets against Hugging Face's on random strings, with no difference allowed.

    tests/tokenizer_fuzz_test.py --tool build/release/bin/encode_strings [--strings N] [--seed N]
    tests/tokenizer_fuzz_test.py --tool build/release/bin/encode_strings --tokenizer DIR --corpus TEXT_FILE...

The first form makes random Unicode, real text with mutations, and words joined by what vanishes, reorders or separates,
and compares every choice of lowercasing, accent stripping and ideograph handling, with special tokens in the text as
tokens and as text, and pairs of strings with the special tokens and types that a model is given. The vocabulary holds
every character that can occur, so that no word hides behind [UNK]. A failure prints the seed, the options and the
string. The second form compares whole texts, document by document.
"""

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
try:
    import numpy
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from tokenizer_parity_test import SENTENCES, SPECIAL, TRAPS, docstrings
except ImportError as error:
    sys.exit(f"tokenizer_fuzz_test: {error}; scripts/setup.sh --full installs what the parity tests need")

BATCH = 4000
FAULTS_SHOWN = 5
SURROGATES = range(0xD800, 0xE000)
# Planes 0 and 1 hold nearly all that is treated in a way of its own; of the rest, the edges of ranges that are.
EDGES = [0x2A6DF, 0x2A700, 0x2B739, 0x2B740, 0x2B81F, 0x2B820, 0x2B920, 0x2CEAF, 0x2CEB0, 0x2EBE0, 0x2F800, 0x2FA1F,
         0x30000, 0x323AF, 0xE0001, 0xE0020, 0xE0100, 0xE01EF, 0xF0000, 0xFFFFD, 0x100000, 0x10FFFF]  # fmt: skip

# Vanish from the text, so that their sides join, or take part in reordering, or look as if they did one of the two.
JOINERS = [
    "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\x0b", "\x0c", "\x1c", "\x1f", "\x7f", "\x85", "\0",
    "\ufffd", "\ufffe", "\ue000", "\U000f0000", "\U000e0001", "\u180e", "\u061c", "\u06dd", "\u0600", "\u070f",
    "\u0301", "\u0300", "\u0323", "\u0334", "\u0315", "\u0344", "\u0345", "\u05ae", "\u05b0", "\u0f71", "\u0f73",
    "\u302a", "\u302e", "\u302f", "\u3099", "\U0001d165", "\U0001d166", "\U0001d16d", "\u1b44", "\ua953", "\u0e3a",
    "\u094d", "\u093c", "\u0cd5", "\u034f", "\ufe0f", "\u20dd", "\u1a7f", "\U00011133", "\U0001e8d0",
]  # fmt: skip
SEPARATORS = [
    " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f",
    "\u3000", ".", ",", "'", "-", "#", "##", "[", "]", "`", "$", "\u2019", "\u2014", "\u3001", "\u037e", "\u1fef",
    "\u0387", "\u00b7", "\u166d", "\u2e43", "\u226e", "\u2260", "\u00b4", "\u0965", "\u10fb", "\U000111c9",
]  # fmt: skip
WORDS = [
    *SPECIAL, "[MASK", "MASK]", "[mask]", "[[MASK]]", "[ MASK ]", "##ing", "ing", "##s", "\u03a3", "\u039f\u03a3",
    "\u03a3\u03a3", "\u0130", "i\u0307", "I\u0307", "\u00df", "\u1e9e", "\ufb01", "\u01c5", "\u00e9", "e\u0301",
    "\u1ea5", "\u1e9b\u0323", "\u0958", "\u2126", "\u212b", "\u212a", "\uac00", "\uac01", "\ud7a3",
    "\u1100\u1161\u11a8", "\u4e2d", "\u6587", "\uf900", "\ufa0e", "\ufaff", "\U00020000",
    "\U0002b81f", "\U0002b820", "\U0002b91f", "\U0002b920", "\U0002f800", "\u3042", "\u304b\u3099", "\u304c",
    "\uff76\uff9e", "\u0e01\u0e33", "\u0ccb", "\u1b06",
    "\U0001d15e", "\U0001f44d\U0001f3fd", "\U00011938", "\U0001109a", "\u1c89", "\ua7dc", "\U00010d50", "\U00016ea0",
]  # fmt: skip


def code_points():
    near = {point for edge in EDGES for point in range(max(edge - 3, 0), min(edge + 4, 0x110000))}
    return sorted(({*range(0x20000)} | near) - {*SURROGATES})


class Strings:
    """An endless supply of strings, the same for the same seed."""

    def __init__(self, seed, real):
        self.random = random.Random(seed)
        self.real = [text for text in real if text]
        points = [chr(point) for point in code_points()]
        # Neighbours by number have much in common: blocks of 64, those with letters and marks of small scripts often.
        self.blocks = [points[start : start + 64] for start in range(0, len(points), 64)]
        self.weighted = [*self.blocks, *self.blocks[:200] * 12, *self.blocks[-12:] * 4]
        self.ascii = [chr(point) for point in range(0x80)]
        self.words = [*WORDS, *(word for text in self.real[:300] for word in text.split()[:8])]
        self.kinds = [self.unicode] * 4 + [self.mutated] * 4 + [self.joined] * 4

    def batch(self, count):
        return [self.random.choice(self.kinds)() for _ in range(count)]

    def unicode(self):
        draw = self.random
        pool = draw.choice(self.weighted)
        for _ in range(draw.randrange(3)):
            pool = pool + draw.choice(self.weighted)
        pool = pool + draw.choice((self.ascii, JOINERS, SEPARATORS, [" "] * 16))
        return "".join(draw.choices(pool, k=draw.randrange(1, 20)))

    def mutated(self):
        draw = self.random
        text = draw.choice(self.real)
        start = draw.randrange(len(text))
        text = text[start : start + draw.randrange(8, 48)]
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(text) + 1)
            kind = draw.randrange(6)
            if kind == 0:
                text = text[:at] + text[at + 1 :]
            elif kind == 1:
                text = text[:at] + text[at:].swapcase()
            elif kind == 2:
                text = text[:at] + text[max(at - 3, 0) : at] + text[at:]
            else:
                pool = draw.choice((JOINERS, SEPARATORS, WORDS, draw.choice(self.weighted)))
                text = text[:at] + draw.choice(pool) + text[at + (kind == 3) :]
        return text

    def joined(self):
        draw = self.random
        parts = draw.choices(self.words, k=draw.randrange(1, 5))
        if draw.randrange(50) == 0:
            # About as long as a word may be, before or after decomposition and what it drops.
            parts.append(draw.choice([*WORDS, *JOINERS, "a"]) * draw.randrange(97, 104))
            draw.shuffle(parts)
        glue = draw.choice((JOINERS, JOINERS, SEPARATORS, JOINERS + SEPARATORS + [""]))
        return "".join(
            part for word in parts for part in (word, *draw.choices(glue, k=draw.choice((0, 1, 1, 2, 3))))
        )


def vocabulary(real, seed):
    """Every character, alone and inside words, and pieces of real words: token -> id."""
    draw = random.Random(seed)
    tokens = dict.fromkeys(SPECIAL)
    for point in code_points():
        if chr(point) not in "\r\n":
            tokens.update({chr(point): None, "##" + chr(point): None})
    words = sorted({word for text in real for word in [*text.split(), *text.lower().split()] if len(word) < 20})
    for word in draw.sample(words, min(len(words), 20000)):
        start = draw.randrange(len(word))
        end = draw.randrange(start, len(word)) + 1
        tokens.update({word: None, word[:end]: None, "##" + word[start:end]: None, "##" + word[start:]: None})
    return {token: number for number, token in enumerate(tokens)}


def hugging_face(vocab):
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return tokenizer


class Ours:
    """Our tokenizer in a process of its own."""

    def __init__(self, tool, directory, *flags):
        command = [tool, "--tokenizer", directory, *flags]
        self.pairs = "--pairs" in flags
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def encode(self, strings):
        """(how many tokens each has, an array of id, begin, end and type of every token)"""
        encoded = [text.encode() for text in strings]
        numbers = numpy.array([len(strings), *map(len, encoded)], dtype=numpy.uint32)
        self.process.stdin.write(numbers.tobytes() + b"".join(encoded))
        self.process.stdin.flush()
        counts = self.numbers(len(strings) // (2 if self.pairs else 1))
        return counts, self.numbers(4 * int(counts.sum())).reshape(-1, 4)

    def numbers(self, count):
        content = self.process.stdout.read(4 * count)
        if len(content) != 4 * count:
            sys.exit(f"encode_strings ended with exit code {self.process.wait()}")
        return numpy.frombuffer(content, dtype=numpy.uint32)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            sys.exit(f"encode_strings ended with exit code {self.process.returncode}")


def theirs(tokenizer, strings, pairs):
    """As Ours.encode."""
    inputs = list(zip(strings[::2], strings[1::2], strict=True)) if pairs else strings
    encodings = tokenizer.encode_batch(inputs, add_special_tokens=pairs)
    ids = [encoding.ids for encoding in encodings]
    counts = numpy.fromiter(map(len, ids), dtype=numpy.uint32, count=len(ids))
    flat = itertools.chain.from_iterable
    tokens = numpy.zeros((int(counts.sum()), 4), dtype=numpy.uint32)
    tokens[:, 0] = numpy.fromiter(flat(ids), dtype=numpy.uint32, count=len(tokens))
    spans = flat(flat(encoding.offsets for encoding in encodings))
    tokens[:, 1:3] = numpy.fromiter(spans, dtype=numpy.uint32, count=2 * len(tokens)).reshape(-1, 2)
    if pairs:
        types = flat(encoding.type_ids for encoding in encodings)
        tokens[:, 3] = numpy.fromiter(types, dtype=numpy.uint32, count=len(tokens))
    return counts, tokens


class Comparison:
    def __init__(self):
        self.strings = 0
        self.tokens = 0
        self.faults = 0

    def compare(self, what, strings, ours, oracle):
        our_counts, our_tokens = ours.encode(strings)
        counts, tokens = theirs(oracle, strings, ours.pairs)
        self.strings += len(strings)
        self.tokens += len(tokens)
        if numpy.array_equal(our_counts, counts) and numpy.array_equal(our_tokens, tokens):
            return
        our_ends, ends = our_counts.cumsum(), counts.cumsum()
        if ours.pairs:
            strings = list(zip(strings[::2], strings[1::2]))
        # Short strings first: they are the easiest to understand.
        for i in sorted(range(len(strings)), key=lambda number: sum(map(len, strings[number]))):
            got = our_tokens[our_ends[i] - our_counts[i] : our_ends[i]].tolist()
            want = tokens[ends[i] - counts[i] : ends[i]].tolist()
            if got == want:
                continue
            self.faults += 1
            if self.faults <= FAULTS_SHOWN:
                same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(got, want)))
                print(f"{what}\n  string {ascii(strings[i])}\n  token {same} and on, with offset and type:", flush=True)
                for name, side in (("ours", got), ("HF", want)):
                    shown = [f"{ascii(oracle.id_to_token(n))} {a}:{b} {t}" for n, a, b, t in side[same : same + 6]]
                    print(f"    {name:4}  {', '.join(shown)}", flush=True)


def fuzz(comparison, tool, directory, strings_total, seed):
    real = [*docstrings(), *SENTENCES.splitlines()]
    vocab = vocabulary(real, seed)
    oracle = hugging_face(vocab)
    strings = Strings(seed, real)
    vocab_file = directory / "vocab.txt"
    vocab_file.write_bytes("".join(token + "\n" for token in vocab).encode())
    combinations = list(itertools.product((True, False), (True, False), (True, False), (False, True)))
    for number, (lowercase, strip, chinese, split_special) in enumerate(combinations):
        config = {"do_lower_case": lowercase, "strip_accents": strip, "tokenize_chinese_chars": chinese}
        what = f"seed {seed}: {config}, split_special_tokens={split_special}"
        folder = directory / str(number)
        folder.mkdir()
        (folder / "vocab.txt").hardlink_to(vocab_file)
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **config}))
        oracle.normalizer = BertNormalizer(
            clean_text=True, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lowercase
        )
        oracle.encode_special_tokens = split_special
        flags = ["--split-special-tokens"] if split_special else []
        # A fifth of all in pairs.
        for pairs, share in ((False, 0.8), (True, 0.2)):
            ours = Ours(tool, folder, *flags, *(["--pairs"] if pairs else []))
            comparison.compare(what, [*TRAPS, ""] if len(TRAPS) % 2 else TRAPS, ours, oracle)
            left = math.ceil(strings_total * share / len(combinations) / 2) * 2
            while left > 0:
                comparison.compare(what, strings.batch(min(left, BATCH)), ours, oracle)
                left -= BATCH
            ours.close()


def compare_corpus(comparison, tool, tokenizer, files):
    oracle = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    ours = Ours(tool, tokenizer)
    for file in files:
        documents = [text for text in file.read_text(encoding="utf-8").split("\n\n") if text]
        for start in range(0, len(documents), BATCH):
            comparison.compare(str(file), documents[start : start + BATCH], ours, oracle)
    ours.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True, help="encode_strings")
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--tokenizer", type=Path, help="with --corpus: a directory with vocab.txt and tokenizer.json")
    parser.add_argument("--corpus", type=Path, nargs="+", help="UTF-8 text, a blank line between documents")
    arguments = parser.parse_args()
    if bool(arguments.corpus) != bool(arguments.tokenizer):
        parser.error("--corpus and --tokenizer go together")
    tool = arguments.tool.resolve()
    comparison = Comparison()
    start = time.monotonic()
    if arguments.corpus:
        compare_corpus(comparison, tool, arguments.tokenizer, arguments.corpus)
    else:
        with tempfile.TemporaryDirectory() as name:
            fuzz(comparison, tool, Path(name), arguments.strings, arguments.seed)
    print(
        f"{comparison.strings} strings, {comparison.tokens} tokens with offsets, {comparison.faults} differences"
        f"{'' if arguments.corpus else f', seed {arguments.seed}'}, {time.monotonic() - start:.0f} s"
    )
    sys.exit(1 if comparison.faults else 0)


if __name__ == "__main__":
    main()
