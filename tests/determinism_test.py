#!/usr/bin/env python3
"""What a loss may depend on: seed, data and global batch; not on interruptions, nor on the number of ranks."""

import os
import signal

import cluster

STEPS = 50
# Rows and tokens that make a step slow enough to be interrupted between two checkpoints.
SLOW = {"train__global_batch_size": 64, "train__micro_batch_size": 16, "checkpoint__every_steps": 5}


class DeterminismTest(cluster.ClusterTest):
    def test_a_resumed_run_repeats_every_bit(self):
        c = self.start_cluster()
        settings = {**SLOW, "train__steps": STEPS, "deterministic": True, "train__precision": "bf16"}
        undisturbed = c.submit(**settings, name="undisturbed")
        c.wait_for_state(undisturbed, "SUCCEEDED")

        interrupted = c.submit(**settings, name="interrupted")
        # The directory appears before its commit; between the two, and a step later, is as good a time as any other.
        marker = c.home / "checkpoints" / interrupted / "step-00000025"
        cluster.wait_for("the checkpoint of step 25", marker.exists, poll_seconds=0.002)
        for pid in c.trainers():
            os.kill(pid, signal.SIGKILL)
        done = c.wait_for_state(interrupted, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 2, "it was killed before its end")

        expected, actual = c.losses(undisturbed), c.losses(interrupted)
        self.assertEqual(sorted(expected), list(range(1, STEPS + 1)))
        self.assertEqual(actual, expected)
        self.assertEqual(done["last_validation"]["loss"], c.job(undisturbed)["last_validation"]["loss"])
        weights = [
            (cluster.Path(c.checkpoints(job)[0]["directory"]) / "model.safetensors").read_bytes()
            for job in (undisturbed, interrupted)
        ]
        self.assertEqual(weights[0], weights[1])

    def test_the_world_size_changes_no_bit_of_a_deterministic_run(self):
        c = self.start_cluster(cpu_slots=1)
        settings = {"train__steps": 20, "deterministic": True, "workers": {"min": 1, "max": 2}}
        alone = c.submit(**settings, name="alone")
        c.wait_for_state(alone, "SUCCEEDED")
        c.start_worker(node="node-2", cpu_slots=1)
        together = c.submit(**settings, name="together")
        c.wait_for_state(together, "SUCCEEDED")
        self.assertIn("1 rank on", self._started(c, alone))
        self.assertIn("2 ranks on", self._started(c, together))
        self.assertEqual(c.losses(alone), c.losses(together))

    def _started(self, c, job):
        (started,) = [event for event in c.events(job) if event["type"] == "GENERATION_STARTED"]
        return started["message"]

    def test_one_rank_and_two_ranks_agree(self):
        c = self.start_cluster()
        one = c.submit(train__steps=STEPS, workers={"min": 1, "max": 1}, name="one")
        two = c.submit(train__steps=STEPS, workers={"min": 2, "max": 2}, name="two")
        for job in (one, two):
            c.wait_for_state(job, "SUCCEEDED")
        expected, actual = c.losses(one), c.losses(two)
        self.assertEqual(sorted(actual), list(range(1, STEPS + 1)))
        for step, loss in expected.items():
            self.assertAlmostEqual(actual[step] / loss, 1.0, delta=1e-5, msg=f"step {step}")


if __name__ == "__main__":
    cluster.main()
