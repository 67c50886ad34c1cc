#!/usr/bin/env python3
"""The quickstart after the set-up: build, fetch text, cut a dataset, train a small BERT on a local cluster, fill masks.

Started by `make quickstart` through scripts/quickstart.sh. Every stage is skipped where its result is already there, so
running it again is quick, and after an interruption it goes on where it stopped, training included.
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from local_cluster import ROOT, ClusterError, LocalCluster, unwind_on_signals

HOME = ROOT / ".quickstart"
BINARIES = ROOT / "build/release/bin"
JOB_FILE = ROOT / "examples/tiny-english.yaml"
TARGETS = ["bert-coordinator", "bert-worker", "bert-trainer", "bert-dataloader", "bertctl", "bert-data", "bert-model"]
VOCAB_SIZE = 8192
# States in which a job of an earlier run is not taken up again.
ENDED_BADLY = ("FAILED", "CANCELLING", "CANCELLED", "UNKNOWN")
NO_SUCH_JOB = 102  # Of bertctl's exit codes.
# One from each kind of text: dialogue, narration, commentary.
SENTENCES = [
    "I am very glad to [MASK] you, said Mr. Knightley.",
    "She was the youngest of the two [MASK] of a most affectionate father.",
    "The Lord is my [MASK]; he hears the prayer of his people.",
]


class QuickstartError(Exception):
    """A stage failed; says what to look at."""


class Stages:
    """Prints the stages' headings and keeps how long each took."""

    def __init__(self, setup_seconds):
        self.seconds = {"set-up": setup_seconds}
        self.name, self.start = None, time.monotonic()

    def begin(self, name, what):
        self.end()
        self.name, self.start = name, time.monotonic()
        print(f"\n== {name}: {what}", flush=True)

    def end(self):
        if self.name:
            self.seconds[self.name] = time.monotonic() - self.start
        self.name = None


def shown(path):
    return os.path.relpath(path, Path.cwd())


def run(*command, log=None, **keywords):
    """Runs a command; with `log`, its output goes there and its end is shown only where it fails."""
    if log is None:
        if subprocess.run(list(map(str, command)), cwd=ROOT, check=False, **keywords).returncode != 0:
            raise QuickstartError(f"{Path(command[0]).name} failed; its message stands above")
        return
    with log.open("w") as output:
        if subprocess.run(list(map(str, command)), cwd=ROOT, stdout=output, stderr=output, check=False).returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise QuickstartError(f"{tail}\n{' '.join(map(str, command))} failed; the whole log is {shown(log)}")


def output_of(*command, **keywords):
    result = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False, **keywords)
    if result.returncode != 0:
        raise QuickstartError(f"{Path(command[0]).name}: {result.stderr.strip()}")
    return result.stdout


def digest_of(*parts):
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def keyed(folder, key):
    """Whether `folder` was finished for `key`. Its key is written last, so a half-done folder never counts."""
    path = folder.with_name(folder.name + ".key")
    return folder.exists() and path.exists() and path.read_text() == key


def set_key(folder, key):
    folder.with_name(folder.name + ".key").write_text(key)


def build():
    if not (ROOT / "build/release/build.ninja").exists():
        run("cmake", "--preset", "release", log=HOME / "logs/configure.log")
    command = ["cmake", "--build", "--preset", "release", "--target", *TARGETS]
    # On a terminal ninja shows its progress on one line.
    run(*command, log=None if sys.stdout.isatty() else HOME / "logs/build.log")


def make_dataset():
    """Text, vocabulary and dataset. Returns the dataset's manifest."""
    text, tokenizer, dataset = HOME / "text", HOME / "tokenizer", HOME / "data/english"
    run(sys.executable, ROOT / "scripts/fetch_text.py", text)
    inputs = sorted(text.glob("*.txt"))
    key = digest_of(VOCAB_SIZE, [json.loads(Path(f"{path}.json").read_text())["sha256"] for path in inputs])
    if keyed(tokenizer, key):
        print(f"{shown(tokenizer)}: already there")
    else:
        shutil.rmtree(tokenizer, ignore_errors=True)
        run(
            *(BINARIES / "bert-data", "train-tokenizer", "--input", *inputs),
            *("--vocab-size", VOCAB_SIZE, "--output", tokenizer),
        )
        set_key(tokenizer, key)
    if keyed(dataset, key) and subprocess.run([BINARIES / "bert-data", "verify", dataset], check=False).returncode == 0:
        print(f"{shown(dataset)}: already there")
    else:
        shutil.rmtree(dataset, ignore_errors=True)
        run(BINARIES / "bert-data", "build", "--input", *inputs, "--tokenizer", tokenizer, "--output", dataset)
        set_key(dataset, key)
    return json.loads((dataset / "manifest.json").read_text())


class Bertctl:
    """bertctl, pointed at the cluster."""

    def __init__(self, cluster):
        self.environment = cluster.environment()

    def run(self, *arguments):
        subprocess.run([BINARIES / "bertctl", *arguments], cwd=ROOT, env=self.environment, check=False)

    def output(self, *arguments):
        return output_of(BINARIES / "bertctl", *arguments, env=self.environment)

    def job(self, job_id):
        return json.loads(self.output("get", job_id, "-o", "json"))

    def state(self, job_id):
        """As in the API without its prefix, or UNKNOWN where the coordinator has no such job."""
        result = subprocess.run(
            [BINARIES / "bertctl", "get", job_id, "-o", "json"],
            **{"cwd": ROOT, "env": self.environment, "capture_output": True, "text": True, "check": False},
        )
        if result.returncode == NO_SUCH_JOB:
            return "UNKNOWN"
        if result.returncode != 0:
            raise QuickstartError(f"bertctl: {result.stderr.strip()}")
        return json.loads(result.stdout)["state"].removeprefix("JOB_STATE_")


def train(bertctl, key, fresh):
    """Has the job trained, anew or from where it stopped. Returns the job, as bertctl gives it."""
    record = HOME / "job.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    if known and (fresh or known["key"] != key):
        reason = "FRESH=1 asks for it" if fresh else "the job file or the text has changed"
        print(f"leaving {known['job']} for a new job: {reason}")
        bertctl.run("cancel", known["job"])
        known = {}
    if known and (state := bertctl.state(known["job"])) in ENDED_BADLY:
        print(f"leaving {known['job']} for a new job: it is {state}")
        known = {}
    if known:
        print(f"going on with {known['job']} (FRESH=1 trains a new one)", flush=True)
    else:
        job_id = bertctl.output("submit", "-f", JOB_FILE).strip()
        known = {"job": job_id, "key": key}
        record.write_text(json.dumps(known))
        print(f"submitted {job_id}", flush=True)
    bertctl.run("watch", known["job"])
    job = bertctl.job(known["job"])
    if job["state"] != "JOB_STATE_SUCCEEDED":
        raise QuickstartError(f"{job['id']} is {job['state']}: {job.get('reason', '')}; logs are in {shown(HOME)}/")
    return job


def newest_checkpoint(bertctl, job_id):
    checkpoints = json.loads(bertctl.output("checkpoint", "list", job_id, "-o", "json"))["checkpoints"]
    return Path(checkpoints[0]["directory"])


def fill_masks(model):
    for sentence in SENTENCES:
        run(BINARIES / "bert-model", "fill-mask", "--model", model, "--top-k", "3", "--text", sentence)


def duration(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def report(job, manifest, model, stages, memory):
    validation, baseline = float(job["last_validation"]["loss"]), manifest["unigram_cross_entropy"]
    print(f"\n{'':32}loss (nats)   perplexity")
    for what, loss in (
        ("knowing only word frequencies", baseline),
        ("this model, training (last step)", float(job["last_step"]["loss"])),
        ("this model, validation", validation),
    ):
        print(f"{what:32}{loss:11.3f}{math.exp(loss):13.1f}")
    print(f"\nThe checkpoint, which is also a Hugging Face model directory: {shown(model)}")
    stages.end()
    for name, seconds in stages.seconds.items():
        print(f"  {name:10} {duration(seconds):>6}")
    print(f"  {'total':10} {duration(sum(stages.seconds.values())):>6}")
    if memory:
        print("Peak memory: " + ", ".join(f"{name} {peak / 2**20:,.0f} MiB" for name, _, peak in memory))
    if validation >= baseline:
        raise QuickstartError("the model is no better than word frequencies; that should not happen")
    binaries = shown(BINARIES)
    print(f"""
Go on:
  {binaries}/bert-model fill-mask --model {shown(model)} --text "It was a truth universally [MASK]."
  scripts/local_cluster.py                      # start the cluster again; it prints what to export
  {binaries}/bertctl describe {job["id"]}
  {binaries}/bertctl submit -f examples/tiny-english.yaml --set train.steps=20000 --follow""")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="train a new model, also where one is there")
    parser.add_argument("--setup-seconds", type=float, default=0, metavar="S", help="how long the set-up took")
    arguments = parser.parse_args()
    unwind_on_signals()
    (HOME / "logs").mkdir(parents=True, exist_ok=True)
    stages = Stages(arguments.setup_seconds)
    try:
        stages.begin("build", "the service, optimised, into build/release")
        build()
        stages.begin("data", "novels and a commentary from two Debian packages, cut into a dataset")
        manifest = make_dataset()
        stages.begin("train", f"{shown(JOB_FILE)} on two ranks of a local cluster; logs in {shown(HOME)}/logs")
        key = digest_of(JOB_FILE.read_text(), manifest["digest"])
        with LocalCluster(HOME, 2, BINARIES) as cluster:
            bertctl = Bertctl(cluster)
            job = train(bertctl, key, arguments.fresh)
            model = newest_checkpoint(bertctl, job["id"])
        stages.begin("fill", "masks in three sentences")
        fill_masks(model)
        report(job, manifest, model, stages, cluster.memory.by_name())
    except KeyboardInterrupt:
        print("\nstopped; `make quickstart` goes on from here", file=sys.stderr)
        sys.exit(130)
    except (QuickstartError, ClusterError, OSError) as error:
        sys.exit(f"quickstart: {error}")


if __name__ == "__main__":
    main()
