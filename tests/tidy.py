#!/usr/bin/env python3
"""The mechanical style rules, as a test: prints FILE:LINE: what is wrong, and fails where there is anything.

    tests/tidy.py [FILE...]      all files, or only what concerns these

Needs clang-format and buf, which `scripts/setup.sh --full` installs. A rule that must yield somewhere has its exception
in this file, with the reason beside it.
"""

import ast
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED_FOLDERS = {".git", ".deps", ".quickstart", "build", "__pycache__"}
CODE = {".h", ".cc", ".cu", ".cuh"}
LINE_LENGTH_MAX = 120
FILE_LINES_MAX = 500

# Files that may be longer, and why.
LONG_FILES = {}

# What a folder (or a file, which wins) may include of this project's own, besides itself; what follows names the rest
# that it must not see. CMake's link lines say the same, but a header without a library slips past them.
RPC = r"grpc|bert/v1/\w+\.grpc"
PROTO = r"bert/(?:v1|journal)/|google/protobuf/"
TORCH = r"torch/|ATen/|c10/"
SQL = r"sqlite3\.h|SQLiteCpp/"
CLOCK = r"common/clock\.h|absl/time/clock\.h|chrono"
DEPENDENCIES = {
    "common": ([], [RPC, PROTO, TORCH, SQL]),
    "common/rpc": (["common"], [PROTO, TORCH, SQL]),
    "common/spec": (["common"], [RPC, TORCH, SQL]),
    "coordinator": (["common"], [TORCH]),
    "worker/agent": (["common"], [TORCH, SQL]),
    "worker/model": (["common", "dataloader/text"], [RPC, PROTO, SQL]),
    "worker/collective": (["common"], [RPC, PROTO, SQL]),
    "worker/record": (["common"], [RPC, TORCH, SQL]),
    "worker/trainer": (
        ["common", "worker/model", "worker/collective", "worker/record", "dataloader/sampling", "dataloader/text"],
        [SQL],
    ),
    "dataloader/text": (["common"], [RPC, PROTO, TORCH, SQL, CLOCK]),
    "dataloader/documents": (["common", "dataloader/text"], [RPC, PROTO, TORCH, SQL, CLOCK]),
    "dataloader/corpus": (["common", "dataloader/text", "dataloader/documents"], [RPC, PROTO, TORCH, SQL, CLOCK]),
    "dataloader/sampling": (["common", "dataloader/text", "dataloader/corpus"], [RPC, PROTO, TORCH, SQL, CLOCK]),
    "dataloader": (["common"], [TORCH, SQL]),
    "bertctl": (["common"], [TORCH, SQL]),
}
# The coordinator's pure core: the sources of its library bert_coordinator_core.
CORE_BANNED = [RPC, TORCH, SQL, CLOCK, r"common/files\.h|fstream|filesystem|spdlog/"]

BANNED_NAME = re.compile(r"(?:Manager|Util|Utils|Helper|Helpers|Misc)(?![a-z])")
BANNED_FILE_NAME = re.compile(r"(?:^|_)(?:manager|utils?|helpers?|misc)(?:_|\.|$)")

# pattern, which files, files where it is right, what to do instead
BANNED_TEXT = [
    (r"^(?:@[A-Z_]+@|[A-Z]+ OUTPUT)$", {".md"}, [], "put there what is to stand there"),
    (r"\b(?:TODO|FIXME|XXX)\b", CODE | {".py", ".sh", ".md", ".proto", ".txt", ".cmake"}, [], "do it, or leave it out"),
    (r"\b(?:GTEST_SKIP|DISABLED_\w+)|unittest\.skip|pytest\.skip", CODE | {".py"}, [], "a test runs or does not exist"),
    (r"\bstd::random_device\b", CODE, ["common/entropy.cc"], "take the randomness as an argument"),
    (r"(?<![\w.>:])s?rand\(|\bstd::s?rand\(", CODE, [], "take the randomness as an argument"),
    (r"\bgettimeofday\(|(?<![\w.>])time\((?:NULL|nullptr|0)\)", CODE, [], "take a Clock"),
    (r"\busing namespace (?!std::literals)", {".h"}, [], "headers import no namespace"),
]
# Waiting for a while is not waiting for something. A test polls a condition with a time limit where it cannot be told.
SLEEP = re.compile(r"\b(?:sleep_for|sleep_until|absl::SleepFor|usleep|nanosleep|time\.sleep)\b|(?<![\w.])sleep\(")
SLEEP_ALLOWED = {}


def files():
    """Every file that people wrote, as paths from the root."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        for name in sorted(names):
            yield (Path(folder) / name).relative_to(ROOT)


def is_text(path):
    return path.suffix in CODE | {".py", ".sh", ".md", ".proto", ".cmake", ".yaml", ".txt"} or path.name == "Makefile"


def is_test(path):
    return path.stem.endswith("_test") or path.parts[0] == "tests"


def check_layout(path, lines, content):
    # Tables and addresses cannot be broken; a lock file's lines are its own.
    limited = path.suffix not in {".md", ".txt"} or path.name == "CMakeLists.txt"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_LENGTH_MAX and (limited or not re.match(r"\||.*https?://", line)):
            yield number, f"{len(line)} characters; at most {LINE_LENGTH_MAX}"
        if line != line.rstrip():
            yield number, "space at the end of the line"
        if "\t" in line and path.name != "Makefile":
            yield number, "a tab"
    if content and not content.endswith("\n"):
        yield len(lines), "no newline at the end"
    if content.endswith("\n\n"):
        yield len(lines), "empty lines at the end"
    if path.suffix in CODE and len(lines) > FILE_LINES_MAX and str(path) not in LONG_FILES:
        yield FILE_LINES_MAX, f"{len(lines)} lines; look for the second noun, or give the reason in tests/tidy.py"


def check_header(path, lines, _):
    if path.suffix != ".h":
        return
    guard = "BERT_" + re.sub(r"[^A-Za-z0-9]", "_", str(path)).upper() + "_"
    text = "\n".join(lines)
    first = re.search(r"^#.*\n#.*$", text, re.M)
    if not first or first.group() != f"#ifndef {guard}\n#define {guard}" or lines[-1] != f"#endif  // {guard}":
        yield 1, f"the include guard is not {guard}"
    if not any(line.startswith("//") for line in lines):
        yield 1, "no comment says what this header offers"


def check_text(path, lines, _):
    if path == Path("tests/tidy.py"):
        return
    for pattern, suffixes, allowed, advice in BANNED_TEXT:
        if path.suffix not in suffixes or str(path) in allowed:
            continue
        for number, line in enumerate(lines, 1):
            match = re.search(pattern, line)
            if match:
                yield number, f"'{match.group()}': {advice}"
    if is_test(path) and path.suffix in CODE | {".py", ".sh"} and str(path) not in SLEEP_ALLOWED:
        for number, line in enumerate(lines, 1):
            if SLEEP.search(line):
                yield number, "a test that sleeps; wait for what it waits for"


def check_names(path, lines, _):
    if BANNED_FILE_NAME.search(path.name):
        yield 1, "a name that says nothing; name the thing that lives here"
    if path.suffix in CODE:
        for number, line in enumerate(lines, 1):
            declared = re.match(r"\s*(?:class|struct|enum class|namespace)\s+(\w+)", line)
            if declared and BANNED_NAME.search(declared.group(1)):
                yield number, f"'{declared.group(1)}' says nothing; name what it does"


def core_files():
    listed = re.search(r"bert_coordinator_core\s+SOURCES\s+([^)]*?)\s+DEPS", read("coordinator/CMakeLists.txt"))
    return {f"coordinator/{Path(name).stem}" for name in listed.group(1).split()} if listed else set()


def check_includes(path, lines, _):
    if path.suffix not in CODE:
        return
    included = []
    for number, line in enumerate(lines, 1):
        match = re.match(r'#include [<"]([^>"]+)[>"]', line)
        if match:
            included.append((number, match.group(1)))
    folder = next((f for f in (str(p) for p in path.parents) if f in DEPENDENCIES), None)
    if folder and not is_test(path):
        own, banned = DEPENDENCIES[folder]
        allowed = [folder, *own]
        for number, name in included:
            top = name.split("/")[0]
            if top in {f.split("/")[0] for f in DEPENDENCIES} and not any(name.startswith(f + "/") for f in allowed):
                yield number, f"{folder} must not depend on {name}"
            if any(re.match(pattern, name) for pattern in banned):
                yield number, f"{folder} must not see {name}"
    if re.sub(r"_test$", "", str(path.with_suffix(""))) in core_files():
        for number, name in included:
            if any(re.match(pattern, name) for pattern in CORE_BANNED):
                yield number, f"the coordinator's core is pure: no {name}"
    torch = [name for _, name in included if re.match(TORCH, name)]
    proto = [(number, name) for number, name in included if re.match(f"{RPC}|{PROTO}", name)]
    if torch and proto:
        yield proto[0][0], f"{proto[0][1]} beside {torch[0]}: Torch brings an older Protobuf"


def check_listed(path, lines, _):
    """A source that no CMakeLists.txt names is built by nobody."""
    if path.suffix not in {".cc", ".cu"}:
        return
    for folder in path.parents:
        listing = ROOT / folder / "CMakeLists.txt"
        name = re.escape(str(path.relative_to(folder)))
        if listing.exists() and re.search(rf"(?<![\w-]){name}\b", listing.read_text()):
            return
    yield 1, "no CMakeLists.txt names it"


def check_scripts(path, lines, content):
    if path.suffix == ".py":
        try:
            ast.parse(content)
        except SyntaxError as error:
            yield error.lineno, error.msg
        if lines and lines[0].startswith("#!") and not os.access(ROOT / path, os.X_OK):
            yield 1, "starts with #! but is not executable"
    elif lines and re.match(r"#!.*\b(?:ba)?sh$", lines[0]):
        shell = "bash" if "bash" in lines[0] else "sh"
        result = subprocess.run([shell, "-n", ROOT / path], capture_output=True, text=True)
        if result.returncode != 0:
            yield 1, result.stderr.strip()
        if not os.access(ROOT / path, os.X_OK):
            yield 1, "starts with #! but is not executable"


def anchors(content):
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", content, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_documents(path, lines, content):
    if path.suffix != ".md":
        return
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.M))
    for number, line in enumerate(lines, 1):
        for target in re.findall(r"(?:`|^\s*\$? *)make ([a-z]+)", line):
            if target not in targets:
                yield number, f"the Makefile has no target '{target}'"
        for name in re.findall(r"(?<![\w/.-])((?:scripts|tests|examples|deploy|docs|benchmarks)/[\w./-]*\w)", line):
            if not (ROOT / name).exists():
                yield number, f"there is no {name}"
        for link in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"https?://|mailto:", link):
                continue
            file, _, anchor = link.partition("#")
            target = ROOT / path.parent / file if file else ROOT / path
            if not target.exists():
                yield number, f"the link to {link} leads nowhere"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
                yield number, f"{target.name} has no heading '{anchor}'"


RULES = [
    check_layout,
    check_header,
    check_text,
    check_names,
    check_includes,
    check_listed,
    check_scripts,
    check_documents,
]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def check_file(path):
    content = read(path)
    lines = content.splitlines()
    return [(path, number, what) for rule in RULES for number, what in rule(path, lines, content)]


def check_format(paths):
    """What clang-format would change, at most one complaint a file."""
    result = subprocess.run(
        ["clang-format", "--dry-run", "--ferror-limit=1", *paths], cwd=ROOT, capture_output=True, text=True
    )
    found = list(re.finditer(r"^(.+?):(\d+):\d+: (?:warning|error): ", result.stderr, re.M))
    for match in found:
        yield Path(match.group(1)), int(match.group(2)), "not as clang-format lays it out; `make format` does"
    if result.returncode != 0 and not found:
        yield Path(".clang-format"), 1, f"clang-format fails: {result.stderr.strip()}"


def check_protos():
    buf = ROOT / ".deps/venv/bin/buf"
    if not buf.exists():
        yield Path("proto"), 1, "cannot be linted: buf is not installed; run scripts/setup.sh --full"
        return
    result = subprocess.run([buf, "lint"], cwd=ROOT / "proto", capture_output=True, text=True)
    found = re.findall(r"^(.+?):(\d+):\d+:(.*)$", result.stdout, re.M)
    for file, number, what in found:
        yield Path("proto") / file, int(number), what
    if result.returncode != 0 and not found:
        yield Path("proto/buf.yaml"), 1, f"buf lint fails: {(result.stdout + result.stderr).strip()}"


def main():
    chosen = {Path(name).resolve().relative_to(ROOT) for name in sys.argv[1:]}
    paths = [path for path in files() if is_text(path) and (not chosen or path in chosen)]
    sources = [path for path in paths if path.suffix in CODE]
    faults = [fault for path in paths for fault in check_file(path)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        linted = pool.submit(lambda: list(check_protos()))
        if shutil.which("clang-format"):
            batches = [sources[start : start + 20] for start in range(0, len(sources), 20)]
            for batch in pool.map(lambda batch: list(check_format(batch)), batches):
                faults += batch
        else:
            faults.append((Path(".clang-format"), 1, "clang-format is not installed; run scripts/setup.sh --full"))
        faults += linted.result()
    seen = set()
    for path, number, what in sorted(faults, key=lambda fault: (str(fault[0]), fault[1])):
        if (path, number, what) not in seen:
            print(f"{path}:{number}: {what}")
        seen.add((path, number, what))
    print(f"tidy: {len(paths)} files, {len(seen)} faults")
    sys.exit(1 if seen else 0)


if __name__ == "__main__":
    main()
