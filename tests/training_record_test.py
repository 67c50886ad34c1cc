#!/usr/bin/env python3
"""What a job leaves to look at, read by TensorBoard itself: curves without a doubled step, however it was killed."""

import json
import os
import signal
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

import cluster

STEPS = 60
SCALARS = {
    *("train/loss", "train/perplexity", "train/learning_rate", "train/grad_norm", "train/tokens_per_second"),
    *("train/mfu", "train/data_wait", "train/checkpoint_stall"),
    *("validation/loss", "validation/perplexity", "validation/accuracy"),
}


def read_events(directory):
    """With its defaults, but every point of each curve."""
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def read_metrics(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [[line for line in lines if line["kind"] == kind] for kind in ("step", "validation")]


class TrainingRecordTest(cluster.ClusterTest):
    def test_a_killed_job_leaves_curves_without_doubled_steps(self):
        c = self.start_cluster()
        job = c.submit(
            train__steps=STEPS,
            train__global_batch_size=64,
            train__micro_batch_size=16,
            checkpoint__every_steps=10,
            validation__every_steps=20,
        )
        directory = Path(c.home / "checkpoints" / job)
        marker = directory / "step-00000020"
        cluster.wait_for("the checkpoint of step 20", marker.exists, poll_seconds=0.002)
        for pid in c.trainers():
            os.kill(pid, signal.SIGKILL)
        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 2, "it was killed before its end")
        self.assertEqual(len(list((directory / "tensorboard").iterdir())), 2)

        steps, validations = read_metrics(directory)
        self.assertEqual([step["step"] for step in steps], list(range(1, STEPS + 1)))
        self.assertEqual([validation["step"] for validation in validations], [20, 40, 60])
        losses = c.losses(job)
        self.assertEqual({step["step"]: step["loss"] for step in steps}, losses)
        for step in steps:
            self.assertGreater(step["mfu"], 0)
            self.assertTrue(0 <= step["data_wait"] <= 1 and 0 <= step["checkpoint_stall"] <= 1, step)

        events = read_events(directory / "tensorboard")
        self.assertEqual(set(events.Tags()["scalars"]), SCALARS)
        for tag in sorted(SCALARS):
            points = events.Scalars(tag)
            expected = range(1, STEPS + 1) if tag.startswith("train/") else [20, 40, 60]
            self.assertEqual([point.step for point in points], list(expected), tag)
        for point in events.Scalars("train/loss"):
            self.assertAlmostEqual(point.value, losses[point.step], delta=1e-5)
        self.assertEqual(events.Tags()["tensors"], ["validation/predictions"])
        texts = events.Tensors("validation/predictions")
        self.assertEqual([text.step for text in texts], [20, 40, 60])
        (text,) = tensor_util.make_ndarray(texts[-1].tensor_proto)
        self.assertIn("| mask | predicted | second | third | right |", text.decode())
        self.assertRegex(c.logs(job), r"sample 3: .*\[MASK\]")
        self.assertRegex(c.logs(job), r"mask 1.*: \S+ [\d.]+%, \S+ [\d.]+%, \S+ [\d.]+%; right: \S+ [\d.]+%")
        for name in ("loss.svg", "learning_rate.svg"):
            root = ElementTree.parse(directory / name).getroot()
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
            (curve, *_) = root.findall("{http://www.w3.org/2000/svg}polyline")
            self.assertEqual(len(curve.get("points").split()), STEPS)

    def test_a_running_job_shows_how_every_rank_does(self):
        c = self.start_cluster()
        job = c.submit(train__steps=100000)
        cluster.wait_for(
            "both ranks in the metrics", lambda: c.metrics("coordinator")["bert_coordinator_training_ranks"] == 2
        )
        cluster.wait_for("both ranks in the view", lambda: len(c.job(job).get("rank_health", [])) == 2)
        health = c.job(job)["rank_health"]
        self.assertEqual([rank.get("rank", 0) for rank in health], [0, 1])
        for rank in health:
            self.assertGreater(rank["tokens_per_second"], 0)
            self.assertGreater(rank["mfu"], 0)
            self.assertGreater(rank["time_shares"]["compute"], 0)
        self.assertRegex(c.ctl("describe", job), r"RANK +NODE +SLOT +STEP +TOKENS/S +MFU +TIME")
        shares = [value for name, value in c.metrics("coordinator").items() if "training_time_share" in name]
        self.assertEqual(len(shares), 6)
        self.assertTrue(0 < sum(shares) <= 1.001, shares)
        c.ctl("cancel", job)
        c.wait_for_state(job, "CANCELLED")

    def test_a_job_ends_where_its_target_loss_is_reached(self):
        c = self.start_cluster()
        job = c.submit(train__steps=2000, validation__every_steps=10, validation__target_loss=6.5)
        done = c.wait_for_state(job, "SUCCEEDED")
        last = int(done["last_step"]["step"])
        self.assertLess(last, 2000)
        self.assertEqual(int(done["checkpoint_step"]), last)
        self.assertLessEqual(done["last_validation"]["loss"], 6.5)
        (event,) = [event for event in c.events(job) if event["type"] == "ENDS_EARLY"]
        self.assertIn("validation.target_loss 6.5", event["message"])


if __name__ == "__main__":
    cluster.main()
