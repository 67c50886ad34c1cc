#!/usr/bin/env python3
"""The coordinator is killed and started again while a job trains: the job does not notice."""

import cluster

# Enough that the coordinator is killed for the second time long before the end.
STEPS = 2000


class CoordinatorRestartTest(cluster.ClusterTest):
    def test_training_goes_on_and_no_step_is_lost(self):
        c = self.start_cluster()
        job = c.submit(train__steps=STEPS, checkpoint__every_steps=100)
        c.wait_for_step(job, 20)
        trainers = c.trainers()
        self.assertEqual(len(trainers), 2)

        c.processes["coordinator"].kill()
        self.assertEqual(c.try_ctl("get", job, "--retry", "100ms")[0], 3)
        c.start_coordinator()
        after = c.job(job)
        self.assertIn(after["state"], ("JOB_STATE_RUNNING", "JOB_STATE_STARTING"))
        self.assertEqual(int(after["generation"]), 1)
        # A second time, as soon as it has heard of further steps.
        c.wait_for_step(job, c.last_step(job) + 10)
        c.processes["coordinator"].kill()
        c.start_coordinator()
        c.wait_for_step(job, c.last_step(job) + 10)
        self.assertEqual(c.trainers(), trainers, "the same processes train on")

        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 1)
        self.assertEqual(int(done.get("restarts", 0)), 0)
        self.assertEqual(sorted(c.losses(job)), list(range(1, STEPS + 1)))
        kept = [int(x["step"]) for x in c.checkpoints(job)]
        self.assertEqual((len(kept), kept[0]), (3, STEPS))
        self.assertTrue(kept[0] > kept[1] > kept[2], kept)
        # The log is complete too: the agent sent again what was not acknowledged.
        lines = [x.split("|", 1)[1].strip() for x in c.logs(job).splitlines() if x.startswith("rank 0 |")]
        written = (c.home / "work/node-1/logs" / job / "1-0.log").read_text().splitlines()
        self.assertEqual(lines, [line.strip() for line in written])

    def test_a_job_that_ends_meanwhile_is_known_to_have_succeeded(self):
        c = self.start_cluster()
        # Seconds of work, so that the coordinator is gone before its end, and one checkpoint, at the end.
        steps = 400
        job = c.submit(
            train__steps=steps,
            train__global_batch_size=64,
            train__micro_batch_size=16,
            checkpoint__every_steps=steps,
        )
        trainers = cluster.wait_for("two trainers", lambda: len(c.trainers()) == 2 and c.trainers())
        c.wait_for_step(job, 1)
        c.processes["coordinator"].kill()
        # They finish, and cannot commit their last checkpoint, so they wait for the coordinator.
        log = c.home / "work/node-1/logs" / job / "1-0.log"
        cluster.wait_for("the last step", lambda: f"step {steps}/{steps}" in log.read_text())
        self.assertEqual(c.trainers(), trainers)
        # After so long an absence the agent tries every few seconds; the lease has to be longer.
        c.start_coordinator(heartbeat="5s")
        done = c.wait_for_state(job, "SUCCEEDED")
        self.assertEqual(int(done["generation"]), 1)
        self.assertEqual(sorted(c.losses(job)), list(range(1, steps + 1)))
        cluster.wait_for("the trainers are gone", lambda: not any(cluster.is_running(pid) for pid in trainers))


if __name__ == "__main__":
    cluster.main()
