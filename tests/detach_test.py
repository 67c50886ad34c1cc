#!/usr/bin/env python3
"""What a signal ends and what it leaves alone: Ctrl-C detaches a client, SIGTERM ends an agent with all below it."""

import signal
import subprocess

import cluster


class DetachTest(cluster.ClusterTest):
    def test_ctrl_c_detaches_and_never_cancels(self):
        c = self.start_cluster()
        # A terminal sends Ctrl-C to the whole group, so the client gets one of its own.
        follow = subprocess.Popen(
            [*cluster.DIE_WITH_PARENT, cluster.BINARIES / "bertctl", "submit", "-f", c.write_spec(train__steps=100000)]
            + ["--follow"],
            env=c.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(follow.kill)
        job = follow.stdout.readline().strip()
        c.wait_for_step(job, 1)
        follow.send_signal(signal.SIGINT)
        out, err = follow.communicate(timeout=cluster.COMMAND_SECONDS_MAX)
        self.assertEqual(follow.returncode, 130, err)
        self.assertEqual(out, "", "the id is all that goes to stdout")
        self.assertIn(f"bertctl watch {job}", err)
        self.assertEqual(len(c.trainers()), 2)
        c.wait_for_step(job, c.last_step(job) + 1)

        for command in (["watch", job], ["logs", "-f", job]):
            with self.subTest(command=command[0]):
                self._interrupt(c, command)
        self.assertEqual(c.try_ctl("watch", job, "--timeout", "500ms")[0], 124)
        self.assertEqual(c.job(job)["state"], "JOB_STATE_RUNNING")

    def test_sigterm_ends_an_agent_and_all_below_it(self):
        c = self.start_cluster()
        job = c.submit(train__steps=100000)
        c.wait_for_step(job, 1)
        trainers = c.trainers()
        self.assertEqual(len(trainers), 2)
        self.assertEqual(c.processes["node-1"].stop(), 0)
        self.assertFalse([pid for pid in trainers if cluster.is_running(pid)])
        # The coordinator knows at once, without waiting for the lease, and the job waits for slots.
        waiting = c.wait_for_state(job, "PENDING")
        self.assertTrue(waiting["reason"])
        # The same node comes back, and the job goes on.
        c.start_worker()
        self.assertEqual(int(c.wait_for_state(job, "RUNNING")["generation"]), 2)

    def test_a_killed_agent_takes_its_trainers_along(self):
        c = self.start_cluster()
        job = c.submit(train__steps=100000)
        c.wait_for_checkpoint(job, 10)
        trainers = c.trainers()
        c.processes["node-1"].kill()
        cluster.wait_for("the trainers die", lambda: not any(cluster.is_running(pid) for pid in trainers))
        c.start_worker()
        cluster.wait_for("the second generation runs", lambda: int(c.wait_for_state(job, "RUNNING")["generation"]) == 2)
        self.assertEqual(len(c.trainers()), 2)
        cluster.wait_for("its log says so", lambda: "resuming from step" in c.logs(job))

    def test_the_other_processes_end_cleanly(self):
        c = self.start_cluster()
        for name in ("node-1", "dataloader", "coordinator"):
            self.assertEqual(c.processes[name].stop(), 0, name)

    def _interrupt(self, c, command):
        client = subprocess.Popen(
            [*cluster.DIE_WITH_PARENT, cluster.BINARIES / "bertctl", *command],
            env=c.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(client.kill)
        self.assertTrue(client.stdout.readline())
        client.send_signal(signal.SIGINT)
        out, _ = client.communicate(timeout=cluster.COMMAND_SECONDS_MAX)
        self.assertEqual(client.returncode, 130, out)
        self.assertIn("goes on", out)


if __name__ == "__main__":
    cluster.main()
