"""A killed learner continues its run: real processes, real simulators."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import left_running
from tests.support.runs import TIMEOUT_S, points, wait_for

SMALL = (
    "learner.total_frames=1000000", "algo.learning_starts=100", "algo.critic_warmup_updates=10",
    "learner.wandb.mode=disabled", "actor.count=1", "actor.num_envs=2", "actor.rows_per_batch=8",
    "learner.publish_every_s=0.3", "learner.log_every_s=0.5", "name=again",
    # Nothing of the dataset is written before the kill: all must come from the journal.
    "learner.store_flush_s=1000", "learner.checkpoint_every_s=0.5",
    # Its rows have all that rows can have without cameras.
    "algo.sees=[proprioception,features]", "algo.critics_see=[state,features]",
)  # fmt: skip


@pytest.mark.timeout(300)
def test_a_killed_learner_goes_on_and_the_actor_waits_for_it(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    ports = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")

    def start(module: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *SMALL, *ports, f"runs_dir={tmp_path}"],
            cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    run_dir = tmp_path / "again"
    learner, actor = start("learner"), start("actor")
    processes = [learner, actor]
    try:
        wait_for(lambda: points(run_dir) and points(run_dir)[-1]["decisions"] >= 150, learner, actor)
        learner.kill()
        learner.wait()
        before = points(run_dir)
        again = start("learner")
        processes.append(again)
        wait_for(lambda: len(points(run_dir)) > len(before), again, actor)
        first = points(run_dir)[len(before)]
        wait_for(lambda: points(run_dir)[-1]["decisions"] > before[-1]["decisions"] + 50, again, actor)
        last = wait_for(
            lambda: [point for point in points(run_dir)[len(before) :] if point["policy_lag_s"] is not None],
            again, actor,
        )[-1]  # fmt: skip
        for process in (actor, again):
            process.send_signal(signal.SIGINT)
        output = again.communicate(timeout=60)[0]
        said = actor.communicate(timeout=60)[0]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            left_running(process.pid)
    assert "resumed the networks from update" in output
    assert first["updates"] > 0
    assert first["frames"] > 0
    assert first["version"] >= before[-1]["version"]
    assert last["policy_lag"] >= 0
    assert 0 <= last["policy_lag_s"] < TIMEOUT_S
    assert "the learner has what it needs" not in said
    assert again.returncode == 0, output
