#!/usr/bin/env python3
"""Tokenizers out of tokenizer.json, and trained ones, against Hugging Face's: not one difference allowed.

    tests/tokenizer_json_parity_test.py --tool build/release/bin/bert-data [--seed N] [--random N]

Byte-level and plain BPE and WordPiece's other options, each made by `tokenizers` and read by `bert-data`: ids, decoded
text, the file that `bert-data build` writes, and what AutoTokenizer makes of it. Then vocabularies that our trainer and
theirs learn from the same text: the same tokens and merges, in the same order.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizer_parity_test import SENTENCES, SPECIAL, TRAPS, Comparison, code_points, docstrings, random_strings
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MORE_TRAPS = [
    "a<mask>b", " <mask> ", "x <mask>\n<mask>y", "<mask", "<s></s><pad>", "don't we'll I'm you've they're 's 'S it'd",
    "''s 're'll 'x", "a  b   c\t\td\n\n e \n f", " lead", "trail ", "  ", "\u00a0 x\u2003y", "1st 2nd 3,000.50 ½ Ⅳ ٣",
    "foo[KEEP]bar [KEEP] x", "one  [L]  two", "one  [R]  two", "[LR]", "word subword wordsub word-word", "WORD word",
    "\u1e9b\u0323 \ufb01 ｆｕｌｌ ½ ² \u212b \u0344 \u0958", "a\u0315\u0300\u05ae\u0300b", "\u1100\u1161\u11a8 각",
    "\u200d\u200c _x_ a_b", "x" * 300, "ab" * 200, "\u4e2d" * 40, "<0x41> <0xE2>", "</w> a</w> ##a ##",
]  # fmt: skip


def trained(model, trainer, corpus, **parts):
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def bpe_trainer(special=SPECIAL, size=1500, **options):
    return trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, **options)


def byte_level(corpus, special, prefix_space, normalizer=None):
    parts = {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=prefix_space), "decoder": decoders.ByteLevel()}
    if normalizer:
        parts["normalizer"] = normalizer
    trainer = bpe_trainer(special, 2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return trained(models.BPE(), trainer, corpus, **parts)


def roberta(corpus):
    tokenizer = byte_level(corpus, [*ROBERTA[:4], AddedToken("<mask>", lstrip=True)], False)
    ids = {name: tokenizer.token_to_id(name) for name in ROBERTA}
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), add_prefix_space=False
    )
    return tokenizer


def suffixed(corpus):
    return trained(
        models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"),
        bpe_trainer(end_of_word_suffix="</w>", limit_alphabet=60),
        corpus,
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.BPEDecoder(),
    )


def plain(corpus, normalizer=None, pre_tokenizer=None, **options):
    parts = {"pre_tokenizer": pre_tokenizer or pre_tokenizers.Whitespace()}
    if normalizer:
        parts["normalizer"] = normalizer
    prefix = {key: value for key, value in options.items() if key == "continuing_subword_prefix"}
    model = models.BPE(unk_token="[UNK]", **options)
    return trained(model, bpe_trainer(limit_alphabet=80, **prefix), corpus, **parts)


def with_bytes(corpus):
    """Unknown characters as the tokens of their bytes, as SentencePiece's models have them."""
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256) if byte != 0xE3)]
    model = models.BPE(unk_token="[UNK]", byte_fallback=True, fuse_unk=True)
    tokenizer = trained(
        model, bpe_trainer(special, limit_alphabet=60), corpus, pre_tokenizer=pre_tokenizers.WhitespaceSplit()
    )
    kept = json.loads(tokenizer.to_str())
    kept["added_tokens"] = kept["added_tokens"][:5]
    return Tokenizer.from_str(json.dumps(kept))


def whole_words(corpus):
    """A vocabulary that has words which no merge makes."""
    made = json.loads(plain(corpus).to_str())
    vocabulary = made["model"]["vocab"]
    for word in ("acknowledged", "universally", "façaded"):
        vocabulary[word] = len(vocabulary)
    made["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(made))


def wordpiece(corpus, prefix="##", limit=100, normalizer=None, pre_tokenizer=None):
    trainer = trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=SPECIAL, show_progress=False, continuing_subword_prefix=prefix
    )
    tokenizer = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainer,
        corpus,
        normalizer=normalizer or normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizer or pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(prefix=prefix),
    )
    made = json.loads(tokenizer.to_str())
    made["model"].update({"continuing_subword_prefix": prefix, "max_input_chars_per_word": limit})
    return Tokenizer.from_str(json.dumps(made))


def with_added_tokens(tokenizer):
    tokenizer.add_special_tokens([AddedToken("[LR]", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens(
        [
            AddedToken("[KEEP]", normalized=False),
            AddedToken("[L]", lstrip=True, normalized=False),
            AddedToken("[R]", rstrip=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("Wörd", normalized=True),
            AddedToken("universal", normalized=True),
        ]
    )
    return tokenizer


def tokenizers_of(corpus):
    sequence = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    stripped = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()])
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.BertPreTokenizer()])
    split_bytes = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(use_regex=False)])
    return {
        "roberta": roberta(corpus),
        "byte-level": byte_level(corpus, SPECIAL, True),
        "byte-level-added": with_added_tokens(byte_level(corpus, SPECIAL, True, normalizers.NFC())),
        "byte-level-lowercase": byte_level(corpus, SPECIAL, True, sequence),
        "byte-level-words": trained(models.BPE(), bpe_trainer(), corpus, pre_tokenizer=split_bytes),
        "suffix": suffixed(corpus),
        "suffix-added": with_added_tokens(suffixed(corpus)),
        "plain": plain(corpus),
        "plain-nfkc": plain(corpus, sequence, split, fuse_unk=True),
        "plain-stripped": plain(corpus, stripped, pre_tokenizers.WhitespaceSplit()),
        "prefix": plain(corpus, continuing_subword_prefix="##"),
        "bytes": with_bytes(corpus),
        "whole-words": whole_words(corpus),
        "wordpiece": wordpiece(corpus),
        "wordpiece-prefix": wordpiece(corpus, "@@", 12),
        "wordpiece-raw": wordpiece(corpus, "", 100, normalizers.BertNormalizer(clean_text=False)),
        "wordpiece-added": with_added_tokens(wordpiece(corpus)),
        "wordpiece-nfd": wordpiece(corpus, "##", 100, stripped, pre_tokenizers.Whitespace()),
    }


def build(tool, directory, tokenizer, corpus_file):
    """The dataset that `bert-data build` makes with this tokenizer."""
    dataset = directory / "dataset"
    command = [tool, "build", "--input", corpus_file, "--tokenizer", tokenizer, "--output", dataset, "--force"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tool, "verify", dataset], check=True, stdout=subprocess.DEVNULL)
    return dataset


def same_json(ours, theirs):
    """Equal but for a ByteLevel decoder's fields, which change nothing when decoding."""
    pair = [json.loads(text) for text in (ours, theirs)]
    for each in pair:
        if each["decoder"] and each["decoder"]["type"] == "ByteLevel":
            each["decoder"] = {"type": "ByteLevel"}
    return pair[0] == pair[1]


def check_read(comparison, tool, directory, corpus_file, real, strings):
    for name, oracle in tokenizers_of(real).items():
        folder = directory / name
        folder.mkdir()
        oracle.save(str(folder / "tokenizer.json"))
        comparison.compare(name, folder, strings, oracle)
        dataset = build(tool, directory, folder, corpus_file)
        written = (dataset / "tokenizer/tokenizer.json").read_text(encoding="utf-8")
        if name != "wordpiece":
            comparison.expect(same_json(written, oracle.to_str()), f"{name}: other JSON than was read")
        loaded = AutoTokenizer.from_pretrained(dataset / "tokenizer")
        sample = strings[:300]
        wanted = [encoding.ids for encoding in oracle.encode_batch(sample, add_special_tokens=False)]
        comparison.expect(
            loaded(sample, add_special_tokens=False)["input_ids"] == wanted, f"{name}: AutoTokenizer gives other ids"
        )
        mask = "<mask>" if name == "roberta" else "[MASK]"
        comparison.expect(loaded.mask_token == mask, f"{name}: the mask is {loaded.mask_token}")


def check_code_points(comparison, directory):
    """How each code point is classified and normalised, shown by vocabularies that tell one answer from another."""
    points = [point for point in code_points() if point not in (0x0D, 0x0A)]

    def check(name, tokenizer, string_of):
        folder = directory / f"points-{name}"
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        every = [string_of(chr(point)) for point in points]
        joined = ["\n".join(every[start : start + 64]) for start in range(0, len(every), 64)]
        if not comparison.same(folder, joined, tokenizer):
            comparison.compare(name, folder, every, tokenizer, decode=False, modes=(False,))

    # A byte behind a letter, a digit, a sign or a space is one token with it if they are in one piece.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL, *alphabet, *(first + second for first in "a1!Ġ" for second in alphabet)]
    merges = [(first, second) for first in "a1!Ġ" for second in alphabet]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    check("byte-level", tokenizer, lambda c: f"a{c}1{c}!{c} {c}a{c} a")

    # A letter at the end of a word is another token than elsewhere.
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, "a", "a</w>", "!", "!</w>"])}
    for name, splitter in (("whitespace", pre_tokenizers.Whitespace()), ("split", pre_tokenizers.WhitespaceSplit())):
        tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]", end_of_word_suffix="</w>"))
        tokenizer.pre_tokenizer = splitter
        check(name, tokenizer, lambda c: f"a{c}a!{c}!{c}a")

    characters = {token: i for i, token in enumerate([*SPECIAL, *map(chr, points), "\n", "\r"])}
    raw = normalizers.BertNormalizer(clean_text=False)
    for normalizer in (
        *(normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase()),
        *(normalizers.StripAccents(), normalizers.Strip(), raw),
    ):
        tokenizer = Tokenizer(models.BPE(characters, [], unk_token="[UNK]"))
        tokenizer.normalizer = normalizer
        name = type(normalizer).__name__
        check(name, tokenizer, lambda c: f"a{c} e\u0301{c} \u302e{c}\u0334x \u1100{c}")


def check_training(comparison, tool, directory, corpus_file, real):
    """Theirs is given our alphabet as special tokens, which pins the ids by which ties are broken."""
    kinds = {
        "wordpiece": (models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer, {}),
        "bpe": (models.BPE(end_of_word_suffix="</w>"), trainers.BpeTrainer, {"end_of_word_suffix": "</w>"}),
        "byte-level-bpe": (models.BPE(), trainers.BpeTrainer, {}),
    }
    for kind, (model, trainer, options) in kinds.items():
        folder = directory / f"trained-{kind}"
        command = [tool, "train-tokenizer", "--input", corpus_file, "--type", kind, "--vocab-size", 3000]
        subprocess.run([*map(str, command), "--output", folder], check=True, stdout=subprocess.DEVNULL)
        ours = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        tokens = sorted(ours["vocab"], key=ours["vocab"].get)
        given = next(i for i, token in enumerate(tokens) if i > 5 and len(unmarked(token)) > 1)
        tokenizer = Tokenizer(model)
        if kind == "byte-level-bpe":
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        else:
            tokenizer.normalizer = normalizers.BertNormalizer()
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        learner = trainer(
            vocab_size=3000, min_frequency=2, special_tokens=tokens[:given], show_progress=False, **options
        )
        tokenizer.train_from_iterator(real, learner)
        theirs = json.loads(tokenizer.to_str())["model"]
        comparison.expect(theirs["vocab"] == ours["vocab"], f"{kind}: another vocabulary than theirs")
        if kind != "wordpiece":
            comparison.expect(theirs["merges"] == ours["merges"], f"{kind}: other merges than theirs")
        comparison.expect(len(tokens) == 3000, f"{kind}: {len(tokens)} tokens")


def unmarked(token):
    return token.removesuffix("</w>") if token.endswith("</w>") else token.removeprefix("##")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True, help="bert-data")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--random", type=int, default=3000, help="random strings for each tokenizer")
    arguments = parser.parse_args()
    tool = arguments.tool.resolve()
    real = [*docstrings(), *SENTENCES.splitlines()]
    strings = [*TRAPS, *MORE_TRAPS, *random_strings(random.Random(arguments.seed), arguments.random, real)]
    strings += real[-2500:]
    comparison = Comparison(tool)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        corpus_file = directory / "corpus.txt"
        corpus = [" ".join(part.split()) for part in real]
        corpus_file.write_text("\n\n".join(corpus), encoding="utf-8")
        check_training(comparison, tool, directory, corpus_file, corpus)
        check_read(comparison, tool, directory, corpus_file, real, strings)
        check_code_points(comparison, directory)
    print(f"{comparison.strings} strings, {comparison.ids} ids, {comparison.faults} differences, seed {arguments.seed}")
    sys.exit(1 if comparison.faults else 0)


if __name__ == "__main__":
    main()
