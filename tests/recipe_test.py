#!/usr/bin/env python3
"""A whole recipe through the service: sentence pairs, two phases, a growing batch, a length in epochs."""

import json
import os
import signal

import cluster

EPOCHS = 2.5
RECIPE = {
    "data__rows": "sentence_pair",
    "deterministic": True,
    "train__phases": [
        {"share": 0.8, "max_seq_len": 32},
        {"share": 0.2, "max_seq_len": 64, "global_batch_size": 24, "masking": {"probability": 0.3}},
    ],
    "train__batch_ramp": {"start": 8, "share": 0.3, "stages": 3},
    "train__optimizer": {"learning_rate": 1e-3, "warmup_share": 0.1, "decay": "cosine"},
    "train__global_batch_size": 64,
    "checkpoint__every_steps": 5,
}


def submit(c, **changes):
    """A job without `train.steps`, which the recipe's length replaces."""
    spec = c.spec(**RECIPE, **changes)
    del spec["train"]["steps"]
    spec["train"]["duration"] = {"epochs": EPOCHS}
    path = c.home / "recipe.yaml"
    path.write_text(json.dumps(spec, indent=1))
    return c.ctl("submit", "-f", path).strip()


def rows_of(c, length):
    """Training rows of pairs of so many tokens, as `bert-data` counts them."""
    command = [cluster.BINARIES / "bert-data", "rows", c.home / "data/english", "--split", "train"]
    summary = cluster.run_ok([*command, "--rows", "sentence_pair", "--max-seq-len", length, "--summary"])
    return int(summary.split(": ")[1].split(" rows")[0])


class RecipeTest(cluster.ClusterTest):
    def test_a_length_in_epochs_resumes_bit_for_bit_across_phases(self):
        c = self.start_cluster()
        undisturbed = submit(c, name="undisturbed")
        done = c.wait_for_state(undisturbed, "SUCCEEDED")
        losses = c.losses(undisturbed)
        total = int(done["last_step"]["total_steps"])
        self.assertEqual(sorted(losses), list(range(1, total + 1)))
        # As many passes as asked for, and none to spare but a step's rows.
        self.assertGreaterEqual(done["last_step"]["epoch"], EPOCHS - 1e-9)
        self.assertLess(done["last_step"]["epoch"], EPOCHS + 64 / min(rows_of(c, 32), rows_of(c, 64)))
        self.assertIn(f"{total}/{total}", c.ctl("list"))

        interrupted = submit(c, name="interrupted")
        # Behind the ramp and well before the second phase, so that the next generation crosses into it.
        step = total // 2 // 5 * 5
        self.assertGreater(step, 0.3 * total)
        marker = c.home / "checkpoints" / interrupted / f"step-{step:08}"
        cluster.wait_for(f"the checkpoint of step {step}", marker.exists, poll_seconds=0.002)
        for pid in c.trainers():
            os.kill(pid, signal.SIGKILL)
        again = c.wait_for_state(interrupted, "SUCCEEDED")
        self.assertEqual(int(again["generation"]), 2, "it was killed before its end")
        self.assertEqual(int(again["last_step"]["total_steps"]), total)
        self.assertEqual(c.losses(interrupted), losses)
        for name in ("loss", "next_sentence_loss", "next_sentence_accuracy"):
            self.assertEqual(again["last_validation"][name], done["last_validation"][name], name)


if __name__ == "__main__":
    cluster.main()
