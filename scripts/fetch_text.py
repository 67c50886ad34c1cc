#!/usr/bin/env python3
"""Fetch the quickstart's English text: two Debian packages, downloaded and unpacked, never installed.

    scripts/fetch_text.py OUTPUT_DIR

Writes OUTPUT_DIR/novels.txt (Jane Austen's six novels) and OUTPUT_DIR/commentary.txt (Spurgeon's "Treasury of David"),
about 15 MB together, both in the public domain. Each has one paragraph a line and an empty line between documents.
A file that is already there with the digest it was written with is kept as it is.
Needs apt-get and dpkg-deb, nothing outside Python's standard library, and no root.
"""

import argparse
import gzip
import hashlib
import html
import json
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
# Shorter paragraphs are headings, cast-offs of the markup and the like.
WORDS_MIN = 4


class RValue:
    """Reads R's serialization format (version 2 or 3, XDR), as far as package data needs it: vectors and lists.

    A list with names becomes a dict. The format is described in the manual "R Internals", section "Serialization".
    """

    NIL, REFERENCE = 254, 255
    SYMBOL, PAIRLIST, STRING, LOGICAL, INTEGER, REAL, STRINGS, LIST = 1, 2, 9, 10, 13, 14, 16, 19
    HAS_ATTRIBUTES, HAS_TAG = 0x200, 0x400

    def __init__(self, data):
        self.data, self.at, self.symbols = data, 0, []
        if self.take(2) != b"X\n":
            raise ValueError("not in R's XDR serialization format")
        version, _, _ = self.integer(), self.integer(), self.integer()
        if version == 3:
            self.take(self.integer())  # The native encoding's name.
        elif version != 2:
            raise ValueError(f"R serialization version {version} is not known here")

    def read(self):
        flags = self.integer()
        kind = flags & 0xFF
        if kind == self.NIL:
            return None
        if kind == self.REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == self.SYMBOL:
            self.symbols.append(self.read())
            return self.symbols[-1]
        if kind == self.PAIRLIST:
            return self.pairlist(flags)
        size = self.integer()
        if kind == self.STRING:
            return None if size < 0 else self.take(size).decode("utf-8")
        if kind in (self.LOGICAL, self.INTEGER):
            value = list(struct.unpack(f">{size}i", self.take(4 * size)))
        elif kind == self.REAL:
            value = list(struct.unpack(f">{size}d", self.take(8 * size)))
        elif kind in (self.STRINGS, self.LIST):
            value = [self.read() for _ in range(size)]
        else:
            raise ValueError(f"R value of type {kind} at byte {self.at} is not known here")
        attributes = self.read() if flags & self.HAS_ATTRIBUTES else {}
        return dict(zip(attributes["names"], value, strict=True)) if "names" in attributes else value

    def pairlist(self, flags):
        items = {}
        while flags & 0xFF == self.PAIRLIST:
            if flags & self.HAS_ATTRIBUTES:
                self.read()
            tag = self.read() if flags & self.HAS_TAG else len(items)
            items[tag] = self.read()
            flags = self.integer()
        return items

    def take(self, size):
        chunk = self.data[self.at : self.at + size]
        if size < 0 or len(chunk) != size:
            raise ValueError(f"R value ends early, at byte {self.at}")
        self.at += size
        return chunk

    def integer(self):
        return struct.unpack(">i", self.take(4))[0]


def r_variables(stem):
    """Yields (name, value) for every variable of the R lazy-load database STEM.rdx, STEM.rdb."""
    index = RValue(gzip.decompress(stem.with_suffix(".rdx").read_bytes())).read()
    database = stem.with_suffix(".rdb").read_bytes()
    for name, (offset, size) in index["variables"].items():
        # A chunk is the inflated size as a big-endian u32 and a zlib stream.
        yield name, RValue(zlib.decompress(database[offset + 4 : offset + size])).read()


def paragraph(text):
    """The text on one line, or '' where it is too short to be a sentence."""
    line = " ".join(text.split())
    return line if len(WORD.findall(line)) >= WORDS_MIN else ""


def novels(root):
    """Yields the chapters of the novels, each a list of paragraphs."""
    heading = re.compile(r"(?:CHAPTER|VOLUME)\s+(?:[IVXLC]+|\d+)\.?\s*$", re.IGNORECASE)
    for _, lines in r_variables(root / "usr/lib/R/site-library/janeaustenr/data/Rdata"):
        chapter = []
        for block in re.split(r"\n\s*\n", "\n".join(lines)):
            if heading.match(" ".join(block.split())):
                yield chapter
                chapter = []
            else:
                # Underscores mark what is printed in italics.
                chapter.append(paragraph(block.replace("_", "")))
        yield chapter


def commentary(root):
    """Yields the titled sections of the commentary, each a list of paragraphs, from a SWORD zCom module."""
    folder = root / "usr/share/sword/modules/comments/zcom/tdavid"
    blocks, data = (folder / "ot.czs").read_bytes(), (folder / "ot.czz").read_bytes()
    breaks = re.compile(r"</?(?:div|lg|l|list|item|chapter)\b[^>]*>")
    # Per block: its offset and size in the data and its inflated size, little-endian.
    for offset, size, inflated in struct.iter_unpack("<III", blocks):
        markup = zlib.decompress(data[offset : offset + size])
        if len(markup) != inflated:
            raise ValueError(f"{folder}/ot.czz: {len(markup)} bytes at {offset}, where the index says {inflated}")
        for section in re.split(r"<title\b.*?</title>", markup.decode("utf-8"), flags=re.DOTALL):
            yield [paragraph(html.unescape(re.sub(r"<[^>]*>", "", block))) for block in breaks.split(section)]


# file name: (Debian package, reader, fewest words that a good reading has)
SOURCES = {
    "novels.txt": ("r-cran-janeaustenr", novels, 600_000),
    "commentary.txt": ("sword-comm-tdavid", commentary, 1_800_000),
}


def download(package, folder):
    """Downloads and unpacks a package; returns the folder that stands for its root."""
    # apt's own unprivileged user cannot write into our temporary folder.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", package]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    archives = list(folder.glob("*.deb"))
    if result.returncode != 0 or len(archives) != 1:
        raise RuntimeError(
            f"could not download the Debian package {package}: {result.stderr.strip()}\n"
            "Check the network and the package sources, run `apt-get update` as root, and try again."
        )
    subprocess.run(["dpkg-deb", "-x", archives[0], folder / "root"], check=True)
    return folder / "root"


def digest(content):
    return hashlib.sha256(content).hexdigest()


def fetch(output, name):
    """Makes OUTPUT/NAME be there. Returns its record: package, documents, words, bytes, digest."""
    package, read, words_min = SOURCES[name]
    path, record_path = output / name, output / (name + ".json")
    if path.exists() and record_path.exists():
        record = json.loads(record_path.read_text())
        if record["sha256"] == digest(path.read_bytes()):
            print(f"{path}: already there ({record['words']:,} words)", flush=True)
            return
    with tempfile.TemporaryDirectory() as folder:
        documents = [[line for line in document if line] for document in read(download(package, Path(folder)))]
    documents = [document for document in documents if document]
    content = "\n\n".join("\n".join(document) for document in documents) + "\n"
    words = len(WORD.findall(content))
    if words < words_min:
        raise RuntimeError(f"{package} gave {words:,} words, fewer than {words_min:,}: its contents have changed")
    encoded = content.encode("utf-8")
    record = {
        "package": package,
        "documents": len(documents),
        "words": words,
        "bytes": len(encoded),
        "sha256": digest(encoded),
    }
    path.write_bytes(encoded)
    record_path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"{path}: {len(documents):,} documents, {words:,} words, {len(encoded):,} bytes from {package}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUTPUT_DIR")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    try:
        for name in SOURCES:
            fetch(output, name)
    except (OSError, ValueError, KeyError, zlib.error, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"fetch_text.py: {error}")


if __name__ == "__main__":
    main()
