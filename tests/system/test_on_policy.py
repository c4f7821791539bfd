"""PPO and GRPO in a run: learner and two actors over real sockets, stopped in the middle and resumed; killed,
with each of them a process."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actor.evaluate import run_evaluator
from actor.loop import run_actor
from config.compose import compose_config
from config.main import Config
from learner.run import run_learner
from tests.support.helpers import left_running
from tests.support.runs import points, progress, wait_for

SMALL = (
    "name=run", "task=pendulum", "task.reward_mode=own", "task.max_episode_steps=20", "base=zero",
    "learner.demos=null", "tracking=[]", "learner.log_every_s=0.05", "learner.evaluation.episodes=2",
    "learner.evaluation.num_envs=1", "learner.evaluation.videos=0", "learner.total_frames=1200",
    "learner.stop_at=null", "actor.count=2", "actor.num_envs=4", "actor.processes=1", "actor.nice=0",
    "learner.evaluation.nice=0", "algo.hidden=[16]", "algo.epochs=2", "algo.minibatch_size=32",
)  # fmt: skip
ALGORITHMS = {
    "ppo": ("algo=ppo", "algo.batch_decisions=160"),
    "grpo": ("algo=grpo", "algo.group_size=4", "algo.batch_groups=2"),
}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_run_learns_batch_after_batch_and_goes_on(
    algo: str, tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    ports = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")
    config = compose_config([*SMALL, *ALGORITHMS[algo], f"runs_dir={tmp_path}", *ports])
    play(config, until=lambda: any(point.get("batches", 0) >= 2 for point in points(config.run_dir)))
    assert not (config.run_dir / "summary.json").exists()
    before = progress(config.run_dir)[-1]["updates"]
    seen = len(progress(config.run_dir))
    play(config, until=lambda: False)
    later = progress(config.run_dir)[seen:]
    assert later[0]["updates"] >= before > 0 and later[-1]["batches"] >= 5
    summary = json.loads((config.run_dir / "summary.json").read_text())
    assert summary["frames"] >= 1200 and summary["final_success"] is not None
    # Nothing is simulated in vain, but for the rounds around the stop.
    assert later[-1]["decisions_too_old"] <= 320


def play(config: Config, until: Callable[[], bool]) -> None:
    """A run's processes, as threads, until the run is over or a fact is true."""
    stop, errors = threading.Event(), list[BaseException]()

    def watched(role: Callable[[Config, threading.Event], None], index: int) -> None:
        mine = msgspec.structs.replace(config, actor=msgspec.structs.replace(config.actor, index=index))
        try:
            role(mine, stop)
        except BaseException as error:  # a thread's error is raised below
            errors.append(error)
            stop.set()

    roles = [(run_learner, 0), (run_actor, 0), (run_actor, 1), (run_evaluator, 0)]
    threads = [threading.Thread(target=watched, args=role) for role in roles]
    for thread in threads:
        thread.start()
    wait_for(lambda: until() or stop.is_set() or not threads[0].is_alive())
    if until():
        stop.set()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_whoever_is_killed_a_decision_is_in_one_batch_or_in_none(
    algo: str, tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    """pytest -m slow tests/system/test_on_policy.py"""
    notes = tmp_path / "notes.jsonl"
    words = [
        *SMALL, *ALGORITHMS[algo], f"runs_dir={tmp_path}", f"wire.experience_port={free_ports[0]}",
        f"wire.weights_port={free_ports[1]}", "learner.total_frames=1000000", "learner.checkpoint_every_s=1",
        "algo.max_version_lag=1",
    ]  # fmt: skip
    started = list[subprocess.Popen[str]]()

    def start(module: str, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *more, *words]
        process = subprocess.Popen(
            command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    def facts() -> list[dict]:
        return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    def batches() -> int:
        return sum("batch" in fact for fact in facts())

    learner = start("tests.system.on_policy_child", str(notes))
    actors = [start("actor", f"actor.index={index}") for index in range(2)]
    try:
        for round_ in range(4):
            before = batches()
            wait_for(lambda before=before: batches() >= before + 4, learner)
            killed = [[learner], [actors[0]], [learner, actors[1]], [learner]][round_]
            for process in killed:
                os.killpg(process.pid, signal.SIGKILL)
            if learner in killed:
                learner = start("tests.system.on_policy_child", str(notes))
            actors = [
                start("actor", f"actor.index={index}") if actor in killed else actor
                for index, actor in enumerate(actors)
            ]
        before = batches()
        wait_for(lambda: batches() >= before + 4, learner)
        learner.send_signal(signal.SIGINT)
        assert learner.wait(60) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert not left_running(process.pid)
    learned = dict[int, list[tuple[int, ...]]]()
    for fact in facts():
        if "resumed" in fact:  # what was learned since the checkpoint is lost with the weights
            learned = {number: used for number, used in learned.items() if number < fact["resumed"]}
        else:
            assert fact["batch"] not in learned
            learned[fact["batch"]] = [tuple(row) for row in fact["used"]]
    assert sum("resumed" in fact for fact in facts()) == 3 and len(learned) >= 12
    assert list(learned) == list(range(len(learned)))
    times = Counter(row for used in learned.values() for row in used)
    assert times and {*times.values()} == {1}
