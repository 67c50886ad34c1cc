#!/usr/bin/env python3
"""Everything that can be wrong from outside: each gives one clear error, and nothing is lost."""

import contextlib
import ctypes
import json
import os
import re
import resource
import subprocess

import cluster

BERT_DATA = cluster.BINARIES / "bert-data"
TMPFS_BYTES = 16 << 20
# Of <linux/sched.h>: mounts of its own for this process and its children.
CLONE_NEWNS = 0x00020000


def flip_byte(path, position=None):
    """Damages a file in its middle without changing its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 0xFF
    path.write_bytes(content)


class Xxh128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def xxh128(content):
    """The digest of `content` as manifests write it, by the library itself."""
    function = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
    function.restype, function.argtypes = Xxh128, [ctypes.c_char_p, ctypes.c_size_t]
    result = function(content, len(content))
    return f"xxh128:{result.high:016x}{result.low:016x}"


class CommandLineTest(cluster.ClusterTest):
    """What is refused before anything runs."""

    def test_a_missing_file(self):
        c = self.start_cluster_without_workers()
        code, out, err = c.try_ctl("submit", "-f", "/nonexistent/job.yaml")
        self.assertEqual((code, out), (1, ""))
        self.assert_one_clear_error(err.lower(), "/nonexistent/job.yaml", "no such file")
        code, _, err = cluster.run(
            [BERT_DATA, "train-tokenizer", "--input", "/nonexistent.txt", "--vocab-size", 100]
            + ["--output", self.directory / "tokenizer"]
        )
        self.assertEqual(code, 1)
        self.assert_one_clear_error(err.lower(), "/nonexistent.txt", "no such file")
        self.assertFalse((self.directory / "tokenizer").exists())

    def test_a_wrong_spec_names_file_line_and_field(self):
        c = self.start_cluster_without_workers()
        good = "name: e2e\npreset: tiny\ndata:\n  dataset: english\n"
        cases = {
            "unknown key": (good + "train:\n  stesp: 5\n", ["job.yaml:6", "train.stesp", "'train.steps'"]),
            "duplicate key": (good + "seed: 1\nseed: 2\n", ["job.yaml:6", "seed"]),
            "wrong type": (good + "train:\n  steps: many\n", ["job.yaml:6", "train.steps", "many"]),
            "min over max": (good + "workers:\n  min: 3\n  max: 2\n", ["workers", "3", "2"]),
            "unknown preset": (good.replace("tiny", "tinny"), ["job.yaml:2", "preset", "tiny"]),
            "no YAML": ("name: [\n", ["job.yaml"]),
        }
        for name, (text, parts) in cases.items():
            with self.subTest(name):
                spec = c.home / "job.yaml"
                spec.write_text(text)
                code, out, err = c.try_ctl("submit", "-f", spec)
                self.assertEqual((code, out), (5, ""), err)
                self.assert_one_clear_error(err, *parts)
        code, out, err = c.try_ctl("submit", "-f", c.write_spec(), "--set", "train.steps=-1")
        self.assertEqual((code, out), (5, ""), err)
        self.assert_one_clear_error(err, "train.steps", "-1")
        self.assertEqual(c.ctl("list", "-o", "name"), "", "nothing was submitted")

    def test_an_unreachable_coordinator(self):
        c = self.start_cluster_without_workers()
        address = c.coordinator_address
        c.processes["coordinator"].stop()
        code, out, err = c.try_ctl("list", "--retry", "100ms")
        self.assertEqual((code, out), (3, ""))
        self.assert_one_clear_error(err, address)
        code, _, err = c.try_ctl("list", "--coordinator", "no-port")
        self.assertIn(code, (1, 2))
        self.assert_one_clear_error(err, "no-port", "host:port")

    def test_a_port_in_use(self):
        c = self.start_cluster_without_workers()
        taken = c.coordinator_address
        common = ["--insecure", "--http", "127.0.0.1:0"]
        for command in (
            ["bert-coordinator", *common, "--listen", taken, "--state-dir", c.home / "state-2"],
            ["bert-dataloader", *common, "--listen", taken, "--data-root", c.home / "data"],
        ):
            with self.subTest(command[0]):
                code, _, err = cluster.run([cluster.BINARIES / command[0], *command[1:]])
                self.assertEqual(code, 1, err)
                self.assert_one_clear_error(err, taken, "in use")
        # Nor do two coordinators share one journal, or two agents one directory.
        code, _, err = cluster.run(
            [cluster.BINARIES / "bert-coordinator", *common, "--listen", "127.0.0.1:0", "--state-dir", c.home / "state"]
        )
        self.assertEqual(code, 1, err)
        self.assert_one_clear_error(err, str(c.home / "state"))
        c.start_worker()
        code, _, err = cluster.run(
            [cluster.BINARIES / "bert-worker", "--insecure", "--coordinator", taken, "--cpu-slots", 1]
            + ["--work-dir", c.home / "work/node-1", "--checkpoint-root", c.home / "checkpoints"]
        )
        self.assertEqual(code, 1, err)
        self.assert_one_clear_error(err, "--work-dir")

    def test_more_workers_than_there_are_slots(self):
        c = self.start_cluster_without_workers()
        c.start_worker(cpu_slots=1)
        spec = c.write_spec(workers={"min": 2, "max": 2})
        code, out, err = c.try_ctl("submit", "-f", spec, "--dry-run")
        self.assertEqual(code, 6, err)
        self.assert_one_clear_error(err, "needs 2 slots", "all nodes together have 1", "workers.min")
        self.assertIn("name: e2e", out)
        self.assertEqual(c.ctl("list", "-o", "name"), "", "nothing was submitted")
        # Without --dry-run it waits: nodes may come.
        job = c.ctl("submit", "-f", spec).strip()
        self.assertIn("all nodes together have 1", c.ctl("describe", job))

    def test_no_credentials_and_no_devices(self):
        worker = [cluster.BINARIES / "bert-worker", "--work-dir", self.directory, "--checkpoint-root", self.directory]
        code, _, err = cluster.run([*worker, "--cpu-slots", 1])
        self.assertEqual(code, 2, err)
        self.assert_one_clear_error(err, "--insecure", "--tls-cert")
        if not list(cluster.Path("/dev").glob("nvidia[0-9]*")):
            code, _, err = cluster.run([*worker, "--insecure"])
            self.assertEqual(code, 1, err)
            self.assert_one_clear_error(err, "--cpu-slots")

    def test_a_wrong_command_line_of_the_coordinator(self):
        common = [cluster.BINARIES / "bert-coordinator", "--http", "127.0.0.1:0", "--state-dir", self.directory / "s"]
        cases = [
            (["--insecure", "--listen", "0.0.0.0:0"], ["--insecure", "0.0.0.0"]),
            (["--insecure", "--listen", "nowhere"], ["nowhere", "host:port"]),
            (["--listen", "127.0.0.1:0"], ["--insecure", "--tls-cert"]),
            (["--insecure", "--heartbeat-interval", "inf"], ["inf", "from 100ms to 1h"]),
            (["--insecure", "--heartbeat-interval", "1ns"], ["1ns", "from 100ms to 1h"]),
            (["--insecure", "--rendezvous-timeout", "soon"], ["soon", "from 1s to 24h"]),
        ]
        for flags, parts in cases:
            with self.subTest(flags):
                code, _, err = cluster.run([*common, *flags])
                self.assertEqual(code, 2, err)
                self.assert_one_clear_error(err, *parts)
        # A file that is not what it should be is no mistake of the command line.
        garbage = self.directory / "garbage.pem"
        garbage.write_text("no certificate")
        tls = ["--tls-cert", garbage, "--tls-key", garbage, "--tls-ca", garbage]
        code, _, err = cluster.run([*common, "--listen", "127.0.0.1:0", *tls])
        self.assertEqual(code, 1, err)
        self.assert_one_clear_error(err, str(garbage), "no certificate in PEM")

    def test_an_address_that_no_other_machine_reaches(self):
        coordinator = "192.0.2.1:7400"
        worker = ["bert-worker", "--cpu-slots", 1, "--work-dir", self.directory, "--checkpoint-root", self.directory]
        loader = ["bert-dataloader", "--listen", "127.0.0.1:0", "--http", "", "--data-root", self.directory]
        for (binary, *flags), said in (
            (worker, "--address 127.0.0.1"),
            ([*worker, "--address", "localhost"], "--address localhost"),
            (loader, "--advertise"),
            ([*loader, "--advertise", "localhost:7410"], "--advertise localhost:7410"),
        ):
            with self.subTest(binary, said=said):
                code, _, err = cluster.run(
                    [cluster.BINARIES / binary, *flags, "--coordinator", coordinator, "--insecure"]
                )
                self.assertEqual(code, 2, err)
                self.assert_one_clear_error(err, said, coordinator)

    def start_cluster_without_workers(self):
        c = self.make_cluster()
        c.start_coordinator()
        return c


class DatasetTest(cluster.ClusterTest):
    """A dataset that is not what it says."""

    def test_a_dataset_that_cannot_be_used_fails_the_job_with_its_cause(self):
        c = self.make_cluster()
        for name in ("corrupt", "foreign"):
            cluster.build_dataset(c.home, data=f"data/{name}")
        flip_byte(c.home / "data/corrupt/shards/train-00000.bin")
        # Another vocabulary of the same size: every id is valid and means something else.
        vocabulary = c.home / "data/foreign/tokenizer/vocab.txt"
        pieces = vocabulary.read_text().splitlines()
        vocabulary.write_text("\n".join(pieces[:5] + pieces[:4:-1]) + "\n")
        cases = {
            "corrupt": ["train-00000.bin"],
            "foreign": ["vocabulary"],
            "missing": ["missing"],
        }
        for name in ("corrupt", "foreign"):
            with self.subTest(name, program="bert-data verify"):
                code, _, err = cluster.run([BERT_DATA, "verify", c.home / "data" / name])
                self.assertEqual(code, 1, err)
                self.assert_one_clear_error(err, *cases[name])
        c.start(cpu_slots=3)
        settings = {"workers": {"min": 1, "max": 1}, "restarts": {"max_without_progress": 1, "max": 1}}
        jobs = {name: c.submit(**settings, name=name, data__dataset=name) for name in cases}
        for name, parts in cases.items():
            with self.subTest(name, program="job"):
                failed = c.wait_for_state(jobs[name], "FAILED")
                said = failed["reason"] + json.dumps(failed["root_cause"])
                self.assert_one_clear_error(said, *parts)
                self.assertEqual(c.try_ctl("watch", jobs[name])[0], 100)

    def test_a_dataset_other_than_the_wanted_one(self):
        c = self.start_cluster()
        job = c.submit(
            data__dataset_digest="xxh128:" + "0" * 32,
            workers={"min": 1, "max": 1},
            restarts={"max_without_progress": 1, "max": 1},
        )
        failed = c.wait_for_state(job, "FAILED")
        self.assert_one_clear_error(failed["reason"] + json.dumps(failed["root_cause"]), "digest", "0" * 32)


class CheckpointTest(cluster.ClusterTest):
    def test_a_damaged_checkpoint_is_announced_and_the_next_good_one_used(self):
        c = self.start_cluster()
        job = c.submit(train__steps=2000, checkpoint__every_steps=200)
        c.wait_for_checkpoint(job, 400)
        # No process may write while the files are damaged.
        c.processes["node-1"].kill()
        newest, second = c.checkpoints(job)[:2]
        flip_byte(cluster.Path(newest["directory"]) / "model.safetensors")
        c.start_worker()
        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["restarts"]), 1)
        logs = c.logs(job)
        announced = re.findall(r".*cannot be used.*", logs)
        self.assertEqual(len(announced), 1, logs)
        self.assert_one_clear_error(announced[0], newest["directory"], "model.safetensors")
        self.assertIn(f"resuming from step {second['step']} in {second['directory']}", logs)
        self.assertEqual(sorted(c.losses(job)), list(range(1, 2001)))

    def test_where_no_checkpoint_is_good_the_job_fails_and_says_so(self):
        c = self.start_cluster()
        restarts = {"max_without_progress": 1, "max": 5}
        job = c.submit(train__steps=100000, checkpoint={"every_steps": 20, "keep_last": 1}, restarts=restarts)
        c.wait_for_checkpoint(job, 20)
        c.processes["node-1"].kill()
        (only,) = c.checkpoints(job)
        os.truncate(cluster.Path(only["directory"]) / "optimizer.safetensors", 100)
        c.start_worker()
        failed = c.wait_for_state(job, "FAILED")
        said = failed["reason"] + json.dumps(failed["root_cause"])
        self.assert_one_clear_error(said, "optimizer.safetensors", "checkpoints can be used")
        self.assertEqual(len(c.checkpoints(job)), 1, "what is there is kept for people to look at")

    def test_a_full_disk_costs_a_checkpoint_and_nothing_else(self):
        c = self.make_cluster()
        cluster.build_dataset(c.home)
        root = c.home / "checkpoints"
        root.mkdir()
        mounted = self._mount_small_disk(root)
        c.start()
        settings = {"every_steps": 50, "keep_last": 2}
        job = c.submit(train__steps=3000, checkpoint=settings, train__log_every_steps=100)
        c.wait_for_checkpoint(job, 50)
        with self._no_room(c, root, mounted):
            said = cluster.wait_for(
                "a checkpoint that is not saved", lambda: re.findall(r".*is not saved.*", c.logs(job))
            )
            self.assert_one_clear_error(said[0], str(root), "make room", "MiB")
            kept = c.checkpoints(job)
            self.assertTrue(kept)
            # Training goes on meanwhile, and what was committed is whole.
            c.wait_for_step(job, c.last_step(job) + 1)
            self.assertEqual(int(c.job(job)["generation"]), 1)
            for checkpoint in kept:
                self.assert_whole(checkpoint)
        # With room again, the next one is saved.
        c.wait_for_checkpoint(job, int(kept[0]["step"]) + 1)
        c.ctl("cancel", job)
        c.wait_for_state(job, "CANCELLED")
        committed = c.checkpoints(job)
        for checkpoint in committed:
            self.assert_whole(checkpoint)
        # Nothing half-written and nothing that was not committed is left behind.
        names = {path.name for path in (root / job).iterdir()}
        record = {"metrics.jsonl", "tensorboard"}
        self.assertEqual(names - record, {cluster.Path(x["directory"]).name for x in committed})

    def assert_whole(self, checkpoint):
        """The manifest is the committed one, and every file has its size and digest."""
        directory = cluster.Path(checkpoint["directory"])
        manifest = (directory / "manifest.json").read_bytes()
        self.assertEqual(xxh128(manifest), checkpoint["digest"], directory)
        for entry in json.loads(manifest)["files"]:
            content = (directory / entry["name"]).read_bytes()
            self.assertEqual((len(content), xxh128(content)), (entry["bytes"], entry["digest"]), directory)

    def _mount_small_disk(self, path):
        """Whether a small tmpfs could be mounted there; only root can. It is gone with the processes of this test."""
        unshare = ctypes.CDLL(None).unshare
        if os.environ.get("BERT_TEST_WITHOUT_MOUNT") or unshare(CLONE_NEWNS) != 0:
            return False
        for mount in (
            ["mount", "--make-rprivate", "/"],
            ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "bert-test", path],
        ):
            if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
                return False
        self.addCleanup(subprocess.run, ["umount", "--lazy", path], check=True)
        return True

    @contextlib.contextmanager
    def _no_room(self, c, root, mounted):
        """The disk is full; where none could be mounted, the trainers may write no file of a model's size."""
        if mounted:
            filler = root / "filler"
            with filler.open("wb", buffering=0) as out, contextlib.suppress(OSError):
                while out.write(bytes(1 << 16)):
                    pass
            try:
                yield
            finally:
                filler.unlink()
            return
        former = {}
        for pid in c.trainers():
            former[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, former[pid][1]))
        try:
            yield
        finally:
            for pid, limits in former.items():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


if __name__ == "__main__":
    cluster.main()
