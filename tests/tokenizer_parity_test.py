#!/usr/bin/env python3
"""Our token ids against Hugging Face's, with not one difference allowed.

    tests/tokenizer_parity_test.py --tool build/release/bin/bert-data [--seed N]

`bert-data tokenize` reads the strings; `tokenizers` and transformers' AutoTokenizer read the same directory. Strings
are real text, a list of known traps, random mixtures, and every code point of the planes that have characters, each in
a context that shows whether it is dropped, a space, punctuation, an ideograph, decomposed, reordered or lowercased. No
code point is left out for being newer than a Unicode version: dataloader/text/unicode.h follows the oracle there too.
"""

import argparse
import importlib
import json
import os
import pkgutil
import random
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
try:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, BertTokenizerFast
except ImportError as error:
    sys.exit(f"tokenizer_parity_test: {error}; scripts/setup.sh --full installs what the parity tests need")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Real text in the scripts that the normaliser treats differently.
SENTENCES = """\
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.
Señor Núñez naïvely façaded his résumé — “voilà!” said Zoë; ‘Ça va?’
Dès Noël où un zéphyr haï me vêt de glaçons würmiens je dîne d’exquis rôtis de bœuf au kir à l’aÿ d’âge mûr.
Victor jagt zwölf Boxkämpfer quer über den großen Sylter Deich. STRAẞE straße
Pijamalı hasta yağız şoföre çabucak güvendi. İSTANBUL ıĞDIR
Tiếng Việt có nhiều dấu: Nguyễn Thị Minh Khai, Đà Nẵng, phở bò.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΟΔΥΣΣΕΥΣ ὈΔΥΣΣΕΎΣ ᾳ ᾼ
Съешь же ещё этих мягких французских булок, да выпей чаю. Йод ёж
דג סקרן שט בים מאוכזב ולפתע מצא לו חברה. שָׁלוֹם
صِف خَلقَ خَودِ كَمِثلِ الشَمسِ إِذ بَزَغَت — يَحظى الضَجيعُ بِها نَجلاءَ مِعطارِ
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम।
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
いろはにほへと ちりぬるを ガギグゲゴ がぎぐげご 東京都 ﾊﾝｶｸ
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. 대한민국
天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。𠀀𠮷野家 豈更車
👩‍👩‍👧‍👦 family, 🇩🇪 flag, 👍🏽 thumbs, ☕️ e\u0301 x²+y³≠z⁴ 5€ £3 ½ №1 ™ © ﬁn ｆｕｌｌ ａｎｄ Ⅳ
ɐqɔ ʇsǝʇ Z̷͎̈a̴͇̽l̵͖̈g̶̳͌o̷̦͝ t͟e͟x͟t͟
"""
TRAPS = [
    "", " ", "\n", "\t \r\n", "\0", "a\0b", "a\x0bb\x0cc\x85d", "a\u00a0b\u2003c\u3000d\u2028e\u2029f",
    "zero\u200bwidth\u200cnon\u200djoin\ufefffeff\u2060wj\u00adshy", "\ufffd", "a\ufffdb", "\ufffe\uffff", "\ue000x",
    "##ing", "##", "#", "###a ##", "a##b", "don't can't we've they're I'm it's do not",
    "[MASK]", "a[MASK]b", "[MASK].[MASK]", "[mask]", "[Mask]", "[[MASK]]", "[MASK", "MASK]", "[CLS][SEP][PAD][UNK]",
    "[ MASK ]", "[MA\u200bSK]", "\u0301[MASK]\u0301", "[SEP]\u0301 x", "[UNK]s", "[MASK][MASK] [SEP]",
    "a" * 99, "a" * 100, "a" * 101, "á" * 100, "a\u0301" * 100, "á" * 101, "İ" * 100, "İ" * 50 + "x", "中" * 300,
    "x" * 100 + "." + "x" * 101, "a\u200b" * 100, "a\u200b" * 101, "\u0301" * 200, "e" + "\u0301\u0334" * 60,
    "\u1e9b\u0323", "\u0344", "\u0958", "\u2126\u212b\u212a", "\uac00\uac01\ud7a3", "\u1100\u1161\u11a8", "ǅ ǆ Ǆ",
    "ΑΣ Σ ΣΑΣ.", "ß ẞ ﬀ ŉ ǰ", "\u037e \u0387 \u1fef \u2000", "\u3099か\u3099", "\u302a\u302e\u302f a\u302e\u0301",
    "a\u0315\u0300\u05ae\u0300\u0062", "\U0001d15e\U0001d165\U0001d166", "\U00011938 \U00011935\U00011930",
    "...!!!???", "a.b,c;d:e", "`~^|<>$+=", "“”‘’«»‹›—–…·•", "$5.00+10%=£6", "1,000,000.00", "http://a.b/c?d=e&f#g",
    "\u00bf\u00a1\u00a7\u00b6", "\u0e2f\u0e5a\u0964\u0965", "\u166d\u1680\u180e\u2e2f\u2e43\u303d\u30fb\uff65",
    "café", "cafe\u0301", "CAFE\u0301", "ᾳ\u0301", "\u0130\u0307", "i\u0307", "\u0049\u0307", "ı",
]


def docstrings():
    """English of many hands that is on every machine with Python: the paragraphs of its library's documentation."""
    warnings.simplefilter("ignore", DeprecationWarning)
    paragraphs = []
    for module in sorted(info.name for info in pkgutil.iter_modules() if info.name in sys.stdlib_module_names):
        if module in {"antigravity", "this", "idlelib", "turtledemo", "lib2to3", "test"} or module.startswith("_"):
            continue
        try:
            loaded = importlib.import_module(module)
        except Exception:  # Not every module can be imported everywhere, and none of them is what is tested.
            continue
        objects = [loaded, *(vars(loaded).get(name) for name in sorted(vars(loaded)))]
        for item in objects:
            text = getattr(item, "__doc__", None)
            if isinstance(text, str):
                paragraphs += [part for part in text.split("\n\n") if part.strip()]
    return list(dict.fromkeys(paragraphs))[:4000]


def random_strings(generator, count, real):
    ranges = [
        (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x00, 0x1F), (0x7F, 0xFF), (0x100, 0x24F), (0x300, 0x36F),
        (0x370, 0x5FF), (0x600, 0x8FF), (0x900, 0xDFF), (0xE00, 0x11FF), (0x1D00, 0x1FFF), (0x2000, 0x206F),
        (0x2070, 0x2BFF), (0x2E00, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA640, 0xABFF), (0xAC00, 0xD7A3),
        (0xE000, 0xE100), (0xF900, 0xFFFF), (0x10000, 0x11FFF), (0x1D100, 0x1D1FF), (0x1E000, 0x1FAFF),
        (0x20000, 0x2FA1F), (0xE0000, 0xE01EF), (0x0, 0xD7FF), (0xE000, 0x10FFFF),
    ]  # fmt: skip
    strings = []
    for _ in range(count):
        parts = []
        chosen = generator.sample(ranges, generator.randint(1, 5))
        for _ in range(generator.randint(1, 25)):
            kind = generator.random()
            if kind < 0.75:
                parts.append(chr(generator.randint(*generator.choice(chosen))))
            elif kind < 0.85:
                word = generator.choice(real).split()
                parts.append(generator.choice(word) if word else " ")
            elif kind < 0.9:
                parts.append(generator.choice([*SPECIAL, "##", "[MASK", " ", "\u200b", "\u0301", "\u0334", "\u302e"]))
            elif kind < 0.95:
                parts.append(chr(generator.randint(*generator.choice(chosen))) * generator.randint(90, 110))
            else:
                parts.append(" ")
        strings.append("".join(parts))
    return ["".join(c for c in text if not 0xD800 <= ord(c) < 0xE000) for text in strings]


def code_points():
    """All of the planes with letters and marks; of the others the edges of blocks and every 97th."""
    points = {*range(0x20000), *range(0x20000, 0x110000, 97), *range(0xE0000, 0xE0200)}
    edges = (0x2A6D6, 0x2A6DF, 0x2B739, 0x2B81D, 0x2B820, 0x2B91F, 0x2CEA1, 0x2CEB0, 0x2EBE0, 0x2F800, 0x2FA1E)
    for edge in edges:
        points.update(range(edge - 4, edge + 5))
    return sorted(point for point in points if not 0xD800 <= point < 0xE000)


def code_point_string(point):
    c = chr(point)
    # Inside a word, before and after marks of a low and a high class and a spacing one, and alone.
    return f"a{c}b e\u0301{c} \u302e{c}\u0334x {c}"


class Comparison:
    def __init__(self, tool):
        self.tool = tool
        self.faults = 0
        self.strings = 0
        self.ids = 0

    def ours(self, directory, strings, split_special):
        command = [self.tool, "tokenize", "--tokenizer", directory, "--json"]
        command += ["--split-special-tokens"] if split_special else []
        sent = "".join(json.dumps(text) + "\n" for text in strings)
        result = subprocess.run(command, input=sent, capture_output=True, text=True, encoding="utf-8")
        if result.returncode != 0:
            sys.exit(f"{command}: exit {result.returncode}: {result.stderr}")
        # Not splitlines(): text inside a line may hold U+2028.
        lines = [json.loads(line) for line in result.stdout.split("\n") if line]
        assert len(lines) == len(strings), f"{len(lines)} lines for {len(strings)} strings"
        return lines

    def compare(self, what, directory, strings, oracle, decode=True, modes=(False, True)):
        """`oracle`: a tokenizers.Tokenizer. `modes`: whether special tokens in the text are split like other text."""
        for split_special in modes:
            oracle.encode_special_tokens = split_special
            expected = [encoding.ids for encoding in oracle.encode_batch(strings, add_special_tokens=False)]
            for text, want, got in zip(strings, expected, self.ours(directory, strings, split_special)):
                self.strings += 1
                self.ids += len(want)
                if got["ids"] != want:
                    tokens = [oracle.id_to_token(i) for i in want]
                    self.fault(f"{what}: {ascii(text)}\n  ours {ascii(got['tokens'])}\n  HF   {ascii(tokens)}")
                elif decode and got["text"] != (back := oracle.decode(want, skip_special_tokens=False)):
                    self.fault(f"{what}: {want} decodes\n  ours {ascii(got['text'])}\n  HF   {ascii(back)}")
        oracle.encode_special_tokens = False

    def same(self, directory, strings, oracle):
        expected = [encoding.ids for encoding in oracle.encode_batch(strings, add_special_tokens=False)]
        self.strings += len(strings)
        self.ids += sum(map(len, expected))
        return expected == [got["ids"] for got in self.ours(directory, strings, split_special=False)]

    def expect(self, condition, message):
        if not condition:
            self.fault(message)

    def fault(self, message):
        self.faults += 1
        if self.faults <= 10:
            print(message)


def check_trained(comparison, tool, directory, real, strings):
    """Vocabularies of our trainer, read from our files by every reader of theirs."""
    corpus = directory / "corpus.txt"
    corpus.write_text("\n\n".join(part.strip() for part in real), encoding="utf-8")
    for name, flags in (("uncased", []), ("cased", ["--cased"])):
        folder = directory / name
        command = [tool, "train-tokenizer", "--input", corpus, "--vocab-size", "4000", *flags, "--output", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        oracle = Tokenizer.from_file(str(folder / "tokenizer.json"))
        comparison.compare(name, folder, strings, oracle)
        for reader in (AutoTokenizer, BertTokenizerFast):
            loaded = reader.from_pretrained(folder)
            where = f"{name} by {reader.__name__}"
            comparison.expect(len(loaded) == oracle.get_vocab_size(), f"{where}: {len(loaded)} tokens")
            comparison.expect(loaded.mask_token_id == 4 and loaded.pad_token_id == 0, f"{where}: special tokens")
            wanted = [[2, *encoding.ids, 3] for encoding in oracle.encode_batch(strings, add_special_tokens=False)]
            comparison.expect(loaded(strings)["input_ids"] == wanted, f"{where}: other ids than tokenizer.json")


def check_every_code_point(comparison, directory, strings):
    """A vocabulary of all characters shows what normalisation did to each. Its files are Hugging Face's."""
    points = code_points()
    vocabulary = dict.fromkeys(SPECIAL)
    for point in points:
        if chr(point) not in "\r\n":
            vocabulary.update({chr(point): None, "##" + chr(point): None})
    vocabulary = {token: number for number, token in enumerate(vocabulary)}
    every = [code_point_string(point) for point in points]
    # Many at a time, because that is quick; where these differ, one at a time says which.
    joined = [" ".join(every[start : start + 64]) for start in range(0, len(every), 64)]
    for lowercase, strip in ((True, None), (False, None), (True, False), (False, True)):
        folder = directory / f"all-{lowercase}-{strip}"
        theirs = BertTokenizerFast(vocab=vocabulary, do_lower_case=lowercase, strip_accents=strip)
        theirs.save_pretrained(folder)
        (folder / "vocab.txt").write_bytes("".join(token + "\n" for token in vocabulary).encode())
        what = f"lowercase={lowercase} strip_accents={strip}"
        comparison.compare(what, folder, strings, theirs.backend_tokenizer, decode=False)
        if (lowercase, strip) != (False, True):
            if not comparison.same(folder, joined, theirs.backend_tokenizer):
                comparison.compare(what, folder, every, theirs.backend_tokenizer, decode=False, modes=(False,))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True, help="bert-data")
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    tool = arguments.tool.resolve()
    real = [*docstrings(), *SENTENCES.splitlines()]
    strings = [*real, *TRAPS, *random_strings(random.Random(arguments.seed), 3000, real)]
    comparison = Comparison(tool)
    with tempfile.TemporaryDirectory() as name:
        check_trained(comparison, tool, Path(name), real, strings)
        check_every_code_point(comparison, Path(name), strings[-4000:])
    print(f"{comparison.strings} strings, {comparison.ids} ids, {comparison.faults} differences, seed {arguments.seed}")
    sys.exit(1 if comparison.faults else 0)


if __name__ == "__main__":
    main()
