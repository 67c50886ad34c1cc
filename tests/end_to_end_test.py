#!/usr/bin/env python3
"""Submit, train on two ranks, checkpoint, kill -9 one of them, resume, succeed."""

import os
import signal

import cluster

STEPS = 400
CHECKPOINT_EVERY = 50


class EndToEndTest(cluster.ClusterTest):
    def test_a_job_survives_the_kill_of_a_trainer(self):
        c = self.start_cluster()
        job = c.submit(train__steps=STEPS, checkpoint__every_steps=CHECKPOINT_EVERY, validation__every_steps=100)
        c.wait_for_checkpoint(job, CHECKPOINT_EVERY)
        # As of a trainer that died in the middle of a checkpoint, or between its rename and its commit.
        for leftover in (".tmp-1-dead", "step-00000001"):
            (c.home / "checkpoints" / job / leftover / "files").mkdir(parents=True)
        trainers = c.trainers()
        self.assertEqual(len(trainers), 2)
        os.kill(trainers[1], signal.SIGKILL)
        self.assertEqual(c.try_ctl("get", job, "--exit-code")[0], 101, "it has not ended")

        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 2)
        self.assertEqual(int(done["restarts"]), 1)
        self.assertEqual(int(done["last_step"]["step"]), STEPS)
        self.assertEqual(int(done["checkpoint_step"]), STEPS)

        # Every step is in the history once, the repeated ones too, and it has learned something.
        losses = c.losses(job)
        self.assertEqual(sorted(losses), list(range(1, STEPS + 1)))
        self.assertLess(sum(losses[s] for s in range(STEPS - 9, STEPS + 1)), sum(losses[s] for s in range(1, 11)))
        validations = c.ctl_json("steps", job)["validations"]
        self.assertEqual([int(v["step"]) for v in validations], [100, 200, 300, 400])
        self.assertLess(validations[-1]["loss"], validations[0]["loss"])

        checkpoints = c.checkpoints(job)
        # One that is due while the last one is still being written is taken later, at whatever step that is.
        kept = [int(x["step"]) for x in checkpoints]
        self.assertEqual((len(kept), kept[0]), (3, STEPS))
        self.assertTrue(kept[0] > kept[1] > kept[2], kept)
        for checkpoint in checkpoints:
            self.assertTrue(os.path.isfile(checkpoint["directory"] + "/model.safetensors"))
        # Retention has deleted the others, and the second generation what nobody committed.
        left = os.listdir(os.path.dirname(checkpoints[0]["directory"]))
        self.assertEqual(len([name for name in left if "step-" in name or name.startswith(".")]), 3, left)

        events = c.events(job)
        failed = [e for e in events if e["type"] == "GENERATION_FAILED" or e["type"] == "RANK_FAILED"]
        self.assertTrue(failed, events)
        self.assertTrue(any("signal 9" in e["message"] for e in failed), failed)
        logs = c.logs(job)
        self.assertRegex(logs, r"(?i)resum\w+ .*step")

        # What people script against.
        self.assertEqual(c.try_ctl("get", job, "--exit-code")[0], 0)
        self.assertEqual(c.try_ctl("watch", job)[0], 0)
        self.assertEqual(c.try_ctl("get", "no-such-job")[0], 102)
        self.assertEqual(c.try_ctl("logs", "no-such-job")[0], 102)
        self.assertEqual(c.try_ctl("frobnicate")[0], 2)
        # What people watch: each process is ready and counts.
        for process in c.processes:
            self.assertEqual(c.http_get(process, "/readyz"), "ok\n", process)
            names = list(c.metrics(process))
            self.assertTrue(names, process)
            self.assertEqual([name for name in names if not name.startswith("bert_")], [], process)
        self.assertEqual(c.metrics("coordinator")['bert_coordinator_jobs{state="succeeded"}'], 1)
        agent = c.metrics("node-1")
        self.assertEqual(agent["bert_agent_slots"], 2)
        self.assertEqual(agent["bert_agent_ranks_running"], 0)
        self.assertEqual(agent["bert_agent_rank_starts_total"], 4)
        exits = {kind: agent[f'bert_agent_rank_exits_total{{outcome="{kind}"}}'] for kind in ("ok", "failed", "ended")}
        self.assertEqual(exits["ok"], 2)
        self.assertGreaterEqual(exits["failed"], 1)
        self.assertEqual(sum(exits.values()), 4)

        # The slots are free again.
        node = c.ctl_json("node", "list")["nodes"][0]
        self.assertFalse([slot for slot in node["slots"] if slot.get("job_id")])
        self.assertEqual(c.trainers(), [])

    def test_a_cancelled_job_stops_and_keeps_its_checkpoints(self):
        c = self.start_cluster()
        job = c.submit(train__steps=100000)
        c.wait_for_checkpoint(job, 10)
        self.assertEqual(c.ctl("cancel", job).strip(), job)
        done = c.wait_for_state(job, "CANCELLED")
        self.assertGreaterEqual(int(done["checkpoint_step"]), 10)
        self.assertTrue(c.checkpoints(job))
        self.assertEqual(c.try_ctl("watch", job)[0], 103)
        cluster.wait_for("no trainer is left", lambda: not c.trainers())

    def test_a_job_waits_until_enough_slots_are_there(self):
        c = self.start_cluster(cpu_slots=1)
        job = c.submit(train__steps=20)
        waiting = c.wait_for_state(job, "PENDING")
        self.assertRegex(waiting["reason"], r"2.*1|1.*2")
        c.start_worker(node="node-2", cpu_slots=1)
        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 1)


if __name__ == "__main__":
    cluster.main()
