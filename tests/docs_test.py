#!/usr/bin/env python3
"""What the documents say of fields, defaults, commands and flags, held against the source and the programs.

    tests/docs_test.py BINARY_DIR
"""

import re
import subprocess
import sys
import unittest
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARIES = Path()
PROGRAM = re.compile(r"(?:\S*/)?(bert(?:ctl|-\w+))$")


def fields_of_proto():
    """Every scalar of JobSpec as a dotted path."""
    source = re.sub(r"//.*", "", (ROOT / "proto/bert/v1/job_spec.proto").read_text())
    messages = dict(re.findall(r"message (\w+) \{(.*?)\}", source, re.DOTALL))

    def walk(message, prefix):
        for kind, name in re.findall(r"(?:optional )?(\w+) (\w+) = \d+;", messages[message]):
            if kind in messages:
                yield from walk(kind, f"{prefix}{name}.")
            else:
                yield prefix + name

    return set(walk("JobSpec", ""))


def defaults():
    """common/spec/presets/defaults.yaml as {dotted path: text}; it uses nothing of YAML but nested mappings."""
    values, path = {}, []
    for line in (ROOT / "common/spec/presets/defaults.yaml").read_text().splitlines():
        match = re.match(r"( *)(\w+):\s*(.*)$", line)
        if match:
            path = path[: len(match.group(1)) // 2] + [match.group(2)]
            if match.group(3):
                values[".".join(path)] = match.group(3)
    return values


def table_rows(page):
    return re.findall(r"^\| `([\w.]+)` \| (.*?) ?\| (.*) \|$", (ROOT / page).read_text(), re.M)


def commands(page):
    """[(line number, words)] of every command of ours in a page's code blocks marked sh."""
    found = []
    inside = False
    pending = ""
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```sh"
        elif inside:
            pending += line.rstrip("\\")
            if line.endswith("\\"):
                continue
            words = re.sub(r"\s#.*", "", pending).split()
            pending = ""
            if words and PROGRAM.match(words[0]):
                found.append((number, words))
    return found


@lru_cache
def help_of(*command):
    return subprocess.run([*command, "--help"], capture_output=True, text=True, check=False).stdout


class JobSpecPage(unittest.TestCase):
    def test_names_every_field_and_no_other(self):
        named = {name for name, _, _ in table_rows("docs/job-spec.md")}
        self.assertEqual(named - presets(), fields_of_proto())

    def test_gives_the_defaults(self):
        written = {name: default.strip("`") for name, default, _ in table_rows("docs/job-spec.md")}
        for name, value in defaults().items():
            self.assertEqual(written[name], value, name)

    def test_names_every_preset(self):
        page = (ROOT / "docs/job-spec.md").read_text()
        for name in presets():
            self.assertIn(f"| `{name}` |", page)


def presets():
    return {path.stem for path in (ROOT / "common/spec/presets").glob("*.yaml")} - {"defaults"}


class Commands(unittest.TestCase):
    def test_every_flag_exists(self):
        pages = [path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]]
        checked = 0
        for page in pages:
            for number, words in commands(page):
                program = str(BINARIES / PROGRAM.match(words[0]).group(1))
                texts = [help_of(program)]
                self.assertTrue(texts[0], f"{page}:{number}: {words[0]} gives no help")
                for word in words[1:]:
                    if re.match(r"[a-z][\w-]*$", word) and re.search(rf"^\s+{word}\s", texts[-1], re.M):
                        texts.append(help_of(program, *[w for w in words[1 : words.index(word) + 1] if w[0] != "-"]))
                line = " ".join(words)
                for flag in re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", line):
                    self.assertRegex("\n".join(texts), rf"(?<![\w-]){flag}(?![\w-])", f"{page}:{number}: {line}")
                checked += 1
        self.assertGreater(checked, 10)


if __name__ == "__main__":
    BINARIES = Path(sys.argv.pop(1))
    unittest.main()
