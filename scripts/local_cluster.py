#!/usr/bin/env python3
"""A whole cluster on this machine: coordinator, dataloader and one agent, on loopback, without TLS.

    scripts/local_cluster.py [--home DIR] [--cpu-slots N]              until Ctrl-C
    scripts/local_cluster.py [--home DIR] [--cpu-slots N] COMMAND...   until COMMAND ends; exits with its status

COMMAND finds the coordinator through BERT_COORDINATOR and BERT_INSECURE. Everything is kept in DIR (.quickstart by
default): the datasets in data/, the coordinator's journal in state/, checkpoints/, work/ and a log of each process in
logs/. Started again on the same DIR, the cluster goes on where it stopped. It ends its processes in order (agent,
dataloader, coordinator) however it ends itself; should it be killed outright, the kernel ends them.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The kernel ends the process behind this when its parent dies, however that happens.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "TERM", "--"]
START_SECONDS_MAX = 30
# An agent gives its trainers 10 s to end.
STOP_SECONDS_MAX = 20


class ClusterError(Exception):
    """A process of the cluster did not start; says which and why."""


class Process:
    """A child in its own session: Ctrl-C reaches only the supervisor, which then stops its children in order."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [*DIE_WITH_PARENT, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )

    def wait_ready(self, ready_file):
        """The content of the file that the process writes once it serves."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready_file.exists():
            if self.child.poll() is not None:
                raise ClusterError(f"{self.name} ended with status {self.child.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.name} was not ready within {START_SECONDS_MAX} s:\n{self.log_tail()}")
            time.sleep(0.02)
        return json.loads(ready_file.read_text())

    def log_tail(self):
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-5:]) + f"\n  (all of it: {self.log})"

    def stop(self):
        if self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end within {STOP_SECONDS_MAX} s of SIGTERM; killing it", file=sys.stderr)
            self.child.kill()
            self.child.wait()


class PeakMemory:
    """Watches the resident memory of the processes below this one; the kernel keeps each one's peak."""

    def __init__(self):
        self.peak_kib = {}  # (name, pid) -> VmHWM
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak-memory", daemon=True)
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def by_name(self):
        """[(name, how many, the largest peak in bytes)], sorted by name."""
        names = {}
        for (name, _), kib in self.peak_kib.items():
            names.setdefault(name, []).append(kib * 1024)
        return [(name, len(peaks), max(peaks)) for name, peaks in sorted(names.items())]

    def _run(self):
        while not self._stop.wait(0.5):
            statuses = {}
            for path in Path("/proc").glob("[0-9]*/status"):
                with contextlib.suppress(OSError, ValueError):  # It may end meanwhile.
                    statuses[int(path.parent.name)] = dict(
                        line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line
                    )
            for pid, status in statuses.items():
                ancestor = pid
                while ancestor in statuses and ancestor != os.getpid():
                    ancestor = int(statuses[ancestor]["PPid"])
                # One that has ended has no memory left, only what was seen of it before.
                if ancestor == os.getpid() and pid != ancestor and "VmHWM" in status:
                    self._note(pid, int(status["VmHWM"].split()[0]))

    def _note(self, pid, kib):
        with contextlib.suppress(OSError):  # It may end meanwhile.
            # The kernel's own name of a process is cut after 15 characters.
            name = Path(f"/proc/{pid}/exe").readlink().name
            if name.startswith("bert"):
                self.peak_kib[name, pid] = kib


class LocalCluster:
    """The running cluster, as a context manager. Not for use from several threads."""

    def __init__(self, home, cpu_slots, binaries):
        self.home, self.cpu_slots, self.binaries = home, cpu_slots, binaries
        self.processes = []
        self.addresses = {}
        self.memory = None

    def __enter__(self):
        for folder in ("logs", "state", "data", "work", "checkpoints", "ready"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        try:
            coordinator = self._start("coordinator", "--state-dir", self.home / "state", listens=True)
            self.addresses = {"coordinator": coordinator["address"], "http": coordinator["http"]}
            to_coordinator = ["--coordinator", coordinator["address"]]
            self._start("dataloader", *to_coordinator, "--data-root", self.home / "data", listens=True)
            self._start(
                "worker",
                *to_coordinator,
                *("--node", "local", "--cpu-slots", self.cpu_slots, "--http", "127.0.0.1:0"),
                *("--work-dir", self.home / "work", "--checkpoint-root", self.home / "checkpoints"),
            )
            self.memory = PeakMemory()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def environment(self):
        """Environment variables with which a client finds the cluster."""
        return {**os.environ, "BERT_COORDINATOR": self.addresses["coordinator"], "BERT_INSECURE": "1"}

    def stop(self):
        # Whoever is impatient waits for the processes' own time limits.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        if self.memory:
            self.memory.stop()
        while self.processes:
            self.processes.pop().stop()
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def _start(self, name, *flags, listens=False):
        ready_file = (self.home / "ready" / f"{name}.json").absolute()
        ready_file.unlink(missing_ok=True)
        # Port 0: the system picks a free one, and the ready file says which.
        listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"] if listens else []
        command = [self.binaries / f"bert-{name}", *listen, "--insecure", "--ready-file", ready_file, *flags]
        process = Process(name, command, self.home / "logs" / f"{name}.log")
        self.processes.append(process)
        return process.wait_ready(ready_file)


def unwind_on_signals():
    """SIGTERM unwinds the stack as Ctrl-C does, so that everything is stopped on the way."""

    def leave(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    # Also where a shell started this in the background, which ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=ROOT / ".quickstart", metavar="DIR")
    parser.add_argument("--cpu-slots", type=int, default=2, metavar="N", help="ranks that can run at once (default 2)")
    parser.add_argument(
        "--binaries", type=Path, default=ROOT / "build/release/bin", metavar="DIR", help="default build/release/bin"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    unwind_on_signals()
    try:
        with LocalCluster(arguments.home, arguments.cpu_slots, arguments.binaries) as cluster:
            command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
            if command:
                sys.exit(run_command(command, cluster.environment()))
            print("The cluster is up; Ctrl-C stops it. In another terminal:\n")
            print(f"  export BERT_COORDINATOR={cluster.addresses['coordinator']} BERT_INSECURE=1")
            print(f"  {os.path.relpath(arguments.binaries)}/bertctl list\n", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ClusterError, OSError) as error:
        sys.exit(f"local_cluster.py: {error}")


def run_command(command, environment):
    """Runs it in the foreground; on the way out of here it has ended. Returns a shell's exit status."""
    with subprocess.Popen([*DIE_WITH_PARENT, *command], env=environment) as child:
        try:
            status = child.wait()
        except BaseException:
            # A Ctrl-C at the terminal has reached it as well; a SIGTERM to this process has not.
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            raise
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    main()
