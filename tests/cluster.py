"""A whole service on this machine for the end-to-end tests: the real binaries, on free ports, in a temporary directory.

    class MyTest(ClusterTest):
        def test_something(self):
            cluster = self.start_cluster(cpu_slots=2)
            job = cluster.submit(steps=20)
            cluster.wait_for_state(job, "SUCCEEDED")

Everything started is ended again, however the test ends; should the test itself be killed, the kernel ends the rest.
After a failure the end of every log is printed. Nothing here waits for a while: it polls a condition with a deadline.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARIES = Path(os.environ.get("BERT_BINARIES", ROOT / "build/release/bin"))
# The kernel ends the process behind this when its parent dies, however that happens.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]
# Plain English on every Debian machine; one paragraph a line and a blank line between documents once it is cleaned.
TEXTS = [Path("/usr/share/common-licenses") / name for name in ("GPL-2", "GPL-3", "LGPL-2.1", "MPL-2.0", "GFDL-1.3")]

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
COMMAND_SECONDS_MAX = 60
WAIT_SECONDS_MAX = 120
POLL_SECONDS = 0.02
TAIL_LINES = 25

# As small as a BERT can be and still learn: a step takes milliseconds.
TINY_MODEL = {
    "norm": "pre_ln",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
}


class ClusterError(Exception):
    """Something of the cluster did not do what it should; says what and why."""


def wait_for(what, condition, seconds=WAIT_SECONDS_MAX, poll_seconds=POLL_SECONDS):
    """The first true value of condition(), which is asked until the deadline."""
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {seconds} s: {what}")
        tick.wait(poll_seconds)


def is_running(pid):
    """Whether the process exists and is more than an exit status nobody has read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    """Process ids of the children of `pid`, of all its threads."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in path.read_text().split()]
    return sorted(found)


def run(command, seconds=COMMAND_SECONDS_MAX, input_text=None, **options):
    """Runs a program of this project to its end: (exit code, stdout, stderr)."""
    with subprocess.Popen(
        [*DIE_WITH_PARENT, *map(str, command)],
        stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as child:
        try:
            out, err = child.communicate(input_text, timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
            raise ClusterError(f"{command} did not end within {seconds} s\nstdout: {out}\nstderr: {err}") from None
    return child.returncode, out, err


def run_ok(command, **options):
    """The stdout of a program that has to succeed."""
    code, out, err = run(command, **options)
    if code != 0:
        raise ClusterError(f"{' '.join(map(str, command))}\nexit code {code}\nstdout: {out}\nstderr: {err}")
    return out


def write_text(path):
    """Real English for a dataset: the licenses that every Debian system carries, as paragraphs."""
    documents = []
    for text in TEXTS:
        paragraphs = re.split(r"\n\s*\n", text.read_text(encoding="utf-8"))
        lines = [" ".join(paragraph.split()) for paragraph in paragraphs]
        # A blank line ends a document; a dozen paragraphs make one, so that there are enough for a validation split.
        documents += ["\n".join(lines[i : i + 12]) for i in range(0, len(lines), 12)]
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")


def build_dataset(directory, vocab_size=1000, data="data/english", kind="wordpiece"):
    """A tokenizer, as train-tokenizer's --type, and a dataset `<directory>/data/english` from real text."""
    text = directory / "english.txt"
    if not text.exists():
        write_text(text)
    tokenizer = directory / f"tokenizer-{kind}-{vocab_size}"
    (directory / data).parent.mkdir(parents=True, exist_ok=True)
    tool = BINARIES / "bert-data"
    train = [tool, "train-tokenizer", "--input", text, "--type", kind, "--vocab-size", vocab_size]
    run_ok([*train, "--output", tokenizer])
    build = [tool, "build", "--input", text, "--tokenizer", tokenizer, "--output", directory / data]
    run_ok([*build, "--validation-share", 0.2])
    return directory / data


class Process:
    """A long-running program in its own session, with its output in a file."""

    def __init__(self, name, command, log, **options):
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [*DIE_WITH_PARENT, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **options,
            )

    @property
    def pid(self):
        return self.child.pid

    def wait_ready(self, ready_file):
        """The content of the file that the process writes once it serves."""

        def is_ready():
            if self.child.poll() is not None:
                raise ClusterError(f"{self.name} ended with status {self.child.returncode}:\n{self.log.read_text()}")
            return ready_file.exists()

        wait_for(f"{self.name} is ready", is_ready, START_SECONDS_MAX)
        return json.loads(ready_file.read_text())

    def kill(self):
        """SIGKILL, and waits for the end."""
        self.child.kill()
        self.child.wait()

    def stop(self):
        """SIGTERM, and SIGKILL where that does not help; returns the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.child.returncode


class Cluster:
    """Coordinator, dataloader and agents. `home` holds all they write; `data/` in it is the data root."""

    def __init__(self, home):
        self.home = Path(home)
        self.processes = {}
        self.coordinator_address = None
        self.http_addresses = {}
        for folder in ("logs", "ready", "state", "data"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)

    # Processes.

    def start_coordinator(self, *flags, heartbeat="500ms"):
        """The first time on a free port, later on the same one. A node's lease is three heartbeats."""
        ready = self._start(
            "coordinator",
            *("--listen", self.coordinator_address or "127.0.0.1:0", "--http", "127.0.0.1:0"),
            *("--state-dir", self.home / "state", "--heartbeat-interval", heartbeat),
            *flags,
        )
        self.coordinator_address = ready["address"]

    def start_dataloader(self, name="dataloader", data_root=None):
        self._start(
            "dataloader",
            *("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--coordinator", self.coordinator_address),
            *("--data-root", data_root or self.home / "data"),
            instance=name,
        )

    def start_worker(self, node="node-1", cpu_slots=2, checkpoint_root=None, threads_per_slot=1, **options):
        self._start(
            "worker",
            *("--coordinator", self.coordinator_address, "--node", node, "--cpu-slots", cpu_slots),
            *("--threads-per-slot", threads_per_slot, "--grace", "5s", "--work-dir", self.home / "work" / node),
            *("--checkpoint-root", checkpoint_root or self.home / "checkpoints", "--http", "127.0.0.1:0"),
            instance=node,
            **options,
        )

    def start(self, cpu_slots=2):
        self.start_coordinator()
        self.start_dataloader()
        self.start_worker(cpu_slots=cpu_slots)
        self.wait_for_loader()

    def _start(self, binary, *flags, instance=None, **options):
        name = instance or binary
        ready_file = self.home / "ready" / f"{name}.json"
        ready_file.unlink(missing_ok=True)
        command = [BINARIES / f"bert-{binary}", *flags, "--insecure", "--ready-file", ready_file]
        process = Process(name, command, self.home / "logs" / f"{name}.log", **options)
        self.processes[name] = process
        ready = process.wait_ready(ready_file)
        self.http_addresses[name] = ready["http"]
        return ready

    def stop(self):
        """Agents first, the coordinator last."""
        for process in reversed(list(self.processes.values())):
            process.stop()

    def trainers(self, node="node-1"):
        """Process ids of the agent's trainers."""
        return [pid for pid in children(self.processes[node].pid) if is_running(pid)]

    def http_get(self, process, path):
        """The body of a page of the process's HTTP side."""
        with urllib.request.urlopen(f"http://{self.http_addresses[process]}{path}", timeout=10) as page:
            return page.read().decode()

    def metrics(self, process):
        """{name with labels: value} of the process's /metrics."""
        lines = [line for line in self.http_get(process, "/metrics").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    # Commands.

    def environment(self):
        return {**os.environ, "BERT_COORDINATOR": self.coordinator_address, "BERT_INSECURE": "1"}

    def try_ctl(self, *arguments, seconds=COMMAND_SECONDS_MAX):
        """(exit code, stdout, stderr) of bertctl."""
        return run([BINARIES / "bertctl", *arguments], env=self.environment(), seconds=seconds)

    def ctl(self, *arguments, seconds=COMMAND_SECONDS_MAX):
        return run_ok([BINARIES / "bertctl", *arguments], env=self.environment(), seconds=seconds)

    def ctl_json(self, *arguments):
        return json.loads(self.ctl(*arguments, "-o", "json"))

    def spec(self, **changes):
        """A complete small job as a dictionary; `changes` override by dotted names with `__` for the dot."""
        spec = {
            "name": "e2e",
            "workers": {"min": 2, "max": 2},
            "model": dict(TINY_MODEL),
            "data": {"dataset": "english", "max_seq_len": 64},
            "train": {
                "steps": 50,
                "global_batch_size": 16,
                "micro_batch_size": 4,
                "precision": "fp32",
                "optimizer": {"learning_rate": 1e-3, "warmup_steps": 5},
                "log_every_steps": 10,
            },
            "validation": {"every_steps": 0, "rows": 32},
            "checkpoint": {"every_steps": 10, "keep_last": 3},
            "seed": 7,
        }
        for name, value in changes.items():
            *path, field = name.split("__")
            target = spec
            for part in path:
                target = target.setdefault(part, {})
            target[field] = value
        return spec

    def write_spec(self, **changes):
        """JSON is YAML."""
        path = self.home / "job.yaml"
        path.write_text(json.dumps(self.spec(**changes), indent=1))
        return path

    def submit(self, **changes):
        """The id of a new job; bertctl submit prints nothing else on stdout."""
        out = self.ctl("submit", "-f", self.write_spec(**changes))
        job = out.strip()
        if out != f"{job}\n" or " " in job:
            raise ClusterError(f"bertctl submit prints more than an id: {out!r}")
        return job

    def job(self, job):
        return self.ctl_json("get", job)

    def wait_for_state(self, job, *states, seconds=WAIT_SECONDS_MAX):
        """The job once it is in one of `states`; fails as soon as it has ended in another."""

        def reached():
            now = self.job(job)
            state = now["state"].removeprefix("JOB_STATE_")
            if state in states:
                return now
            if state in ("SUCCEEDED", "FAILED", "CANCELLED"):
                raise ClusterError(f"{job} is {state}, not {states}:\n{self.ctl('describe', job)}")
            return None

        return wait_for(f"{job} is {' or '.join(states)}", reached, seconds)

    def wait_for_step(self, job, step):
        """Until the coordinator knows that `step` is completed."""
        return wait_for(f"{job} at step {step}", lambda: self.last_step(job) >= step)

    def last_step(self, job):
        return int(self.job(job).get("last_step", {}).get("step", 0))

    def wait_for_loader(self):
        return wait_for("a dataloader", lambda: self.ctl_json("node", "list").get("loaders"))

    def checkpoints(self, job):
        """Committed ones, newest first."""
        return self.ctl_json("checkpoint", "list", job).get("checkpoints", [])

    def wait_for_checkpoint(self, job, step):
        return wait_for(
            f"a checkpoint of {job} at step {step} or later",
            lambda: [c for c in self.checkpoints(job) if int(c["step"]) >= step],
        )

    def losses(self, job):
        """{step: loss} of all steps, exactly as the trainer reported them."""
        return {int(step["step"]): step["loss"] for step in self.ctl_json("steps", job).get("steps", [])}

    def events(self, job):
        return self.ctl_json("events", job).get("events", [])

    def logs(self, job):
        return self.ctl("logs", job)


class ClusterTest(unittest.TestCase):
    """Tests with clusters of their own; each test method gets an empty temporary directory."""

    def setUp(self):
        self.directory = Path(tempfile.mkdtemp(prefix="bert-e2e-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.clusters = []
        self.addCleanup(self._stop_clusters)

    def make_cluster(self, name="cluster"):
        """Not started yet."""
        cluster = Cluster(self.directory / name)
        self.clusters.append(cluster)
        return cluster

    def start_cluster(self, cpu_slots=2, dataset=True):
        cluster = self.make_cluster()
        if dataset:
            build_dataset(cluster.home)
        cluster.start(cpu_slots)
        return cluster

    def assert_one_clear_error(self, text, *parts):
        """`text` says every one of `parts`, and is no stack trace or abort."""
        for part in parts:
            self.assertIn(part, text)
        for never in ("terminate called", "Check failed", "CHECK failed", "Aborted", "core dumped", "Traceback"):
            self.assertNotIn(never, text)

    def _stop_clusters(self):
        if self._failed():
            for cluster in self.clusters:
                print_tails(cluster)
        for cluster in self.clusters:
            cluster.stop()

    def _failed(self):
        result = self._outcome.result
        return any(test is self for test, _ in result.failures + result.errors)


def print_tails(cluster):
    """The end of every log of a cluster, to stderr."""
    for path in sorted(cluster.home.glob("logs/*.log")) + sorted(cluster.home.glob("work/*/logs/**/*.log")):
        lines = path.read_text(errors="replace").splitlines()
        print(f"--- {path.relative_to(cluster.home)}, {len(lines)} lines", file=sys.stderr)
        print("\n".join(lines[-TAIL_LINES:]), file=sys.stderr)


def main():
    """Runs the calling script's tests. SIGTERM unwinds the stack, so that everything is stopped on the way."""

    def leave(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    unittest.main(verbosity=2)
