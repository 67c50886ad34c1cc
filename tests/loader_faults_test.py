#!/usr/bin/env python3
"""Dataloaders that die, come back, hang and lose a shard under a job, and readers that freeze: the job's losses stay
those of a calm run, bit for bit."""

import os
import shutil
import signal

import cluster

STEPS = 2000
# A frozen reader is let go when it has not answered for two of the loader's ten seconds of keepalive.
FROZEN_SECONDS_MAX = 60


class LoaderFaultsTest(cluster.ClusterTest):
    def start_with_two_loaders(self):
        c = self.make_cluster()
        cluster.build_dataset(c.home)
        c.start_coordinator()
        c.start_dataloader("loader-1")
        # On a machine of its own it would have files of its own.
        shutil.copytree(c.home / "data", c.home / "data-2")
        c.start_dataloader("loader-2", c.home / "data-2")
        c.start_worker(cpu_slots=2)
        self.wait_for_two_loaders(c)
        return c

    def wait_for_two_loaders(self, c):
        cluster.wait_for("two loaders", lambda: len(c.ctl_json("node", "list").get("loaders", [])) == 2)

    def streams(self, c, loader):
        return c.metrics(loader)["bert_loader_open_streams"]

    def test_a_job_goes_on_through_every_fault_of_its_loaders(self):
        c = self.start_with_two_loaders()
        spec = {"train__steps": STEPS, "checkpoint__every_steps": STEPS, "deterministic": True}
        calm = c.submit(**spec)
        c.wait_for_state(calm, "SUCCEEDED")

        job = c.submit(**spec)
        c.wait_for_step(job, 50)
        # Ranks are spread over the loaders.
        self.assertEqual([self.streams(c, name) for name in ("loader-1", "loader-2")], [1, 1])
        # One dies: its rank goes on at the other.
        c.processes["loader-1"].kill()
        cluster.wait_for("both ranks at loader-2", lambda: self.streams(c, "loader-2") == 2)
        c.wait_for_step(job, c.last_step(job) + 100)
        # It comes back, and the other one hangs.
        c.start_dataloader("loader-1")
        self.wait_for_two_loaders(c)
        hung = c.processes["loader-2"].pid
        os.kill(hung, signal.SIGSTOP)
        try:
            cluster.wait_for("both ranks at loader-1", lambda: self.streams(c, "loader-1") == 2)
            c.wait_for_step(job, c.last_step(job) + 100)
        finally:
            os.kill(hung, signal.SIGCONT)
        self.wait_for_two_loaders(c)
        # A shard of the one that serves both loses its second half: it leaves, by name, and they go on at the other.
        shard = c.home / "data/english/shards/train-00000.bin"
        os.truncate(shard, shard.stat().st_size // 2)
        cluster.wait_for("the loader notices", lambda: c.metrics("loader-1")["bert_loader_datasets_damaged_total"] == 1)
        self.assertIn("train-00000.bin: damaged", c.processes["loader-1"].log.read_text())
        cluster.wait_for("both ranks at loader-2 again", lambda: self.streams(c, "loader-2") == 2)

        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done.get("restarts", 0)), 0, "no fault of a loader costs a generation")
        self.assertEqual(c.losses(job), c.losses(calm))
        self.assertTrue(cluster.is_running(c.processes["loader-1"].pid))

    def test_a_frozen_reader_is_let_go_and_goes_on_when_it_wakes(self):
        c = self.start_cluster(cpu_slots=1)
        workers = {"workers__min": 1, "workers__max": 1}
        job = c.submit(train__steps=STEPS, checkpoint__every_steps=STEPS, **workers)
        c.wait_for_step(job, 20)
        self.assertEqual(self.streams(c, "dataloader"), 1)
        (trainer,) = c.trainers()
        os.kill(trainer, signal.SIGSTOP)
        try:
            released = lambda: self.streams(c, "dataloader") == 0  # noqa: E731
            cluster.wait_for("the loader has let the reader go", released, FROZEN_SECONDS_MAX)
        finally:
            os.kill(trainer, signal.SIGCONT)
        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 1)
        self.assertEqual(sorted(c.losses(job)), list(range(1, STEPS + 1)))


if __name__ == "__main__":
    cluster.main()
