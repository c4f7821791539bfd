"""Bases that are trained inside a run: real simulators and wire, a learner that is stopped or killed."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from actor import evaluation, loop
from actor.evaluate import run_evaluator
from actor.loop import run_actor
from actor.policy.make import make_base
from actor.simulators.contract import Step, VectorEnvironment
from actor.simulators.make import make_environment
from config.compose import compose_config
from config.main import Config
from learner.replay.prior.read import Wanted, read_demonstrations
from learner.run import run_learner
from tests.support.diffusion import base_keys
from tests.support.helpers import left_running
from tests.support.lerobot_policies import make_policy, save
from tests.support.runs import points, progress, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DEMOS = "bases/PickCube-v1/demos.h5"
SMALL = (
    "name=tuned", "learner.wandb.mode=disabled", "learner.publish_every_s=0.2", "learner.log_every_s=0.5",
    "learner.checkpoint_every_s=0.5", "learner.evaluation.episodes=2", "learner.evaluation.num_envs=1",
    "learner.evaluation.videos=0", "actor.count=1", "actor.num_envs=2", "actor.rows_per_batch=8",
    "algo.batch_size=8", "algo.warmup_steps=2", "algo.publish_every_updates=5", f"learner.demos={DEMOS}",
)  # fmt: skip
ALGORITHMS = {
    "sft": ("algo=sft", "algo.steps=40", "learner.total_frames=400"),
    "rejection_sampling": (
        "algo=rejection_sampling", "algo.successes_to_start=2", "algo.rounds=4", "algo.sft_steps=10",
        "learner.total_frames=400", "algo.noise_probability=1",
    ),
}  # fmt: skip


class EndsInSuccess:
    """Real simulators in which every episode counts as successful: no small random policy ever is."""

    def __init__(self, envs: VectorEnvironment) -> None:
        self._envs = envs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._envs, name)

    def step(self, action: torch.Tensor) -> Step:
        step = self._envs.step(action)
        return replace(step, success=step.ended)


@pytest.fixture(params=["shipped", "act", "diffusion"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    """Words that choose a base."""
    if request.param == "shipped":
        return ()
    episodes = read_demonstrations(DEMOS, Wanted(limit=3)).episodes
    folder = save(tmp_path / "base", *make_policy(request.param, episodes, state=18))
    return ("base=lerobot", f"base.path={folder}")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_base_is_trained_in_a_run_that_is_stopped_and_goes_on(
    algo: str,
    base: tuple[str, ...],
    tmp_path: Path,
    free_ports: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ends_in_success(*words: Any, **named: Any) -> Any:
        return EndsInSuccess(make_environment(*words, **named))

    for module in (loop, evaluation):
        monkeypatch.setattr(module, "make_environment", ends_in_success)
    config = compose_config(
        [
            *SMALL, *base, *ALGORITHMS[algo], f"runs_dir={tmp_path}", "task.max_episode_steps=12",
            f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}", "actor.nice=0",
        ]
    )  # fmt: skip
    run_dir = config.run_dir
    play(config, until=lambda: any(point.get("updates", 0) >= 11 for point in points(run_dir)))
    assert not (run_dir / "summary.json").exists()
    before = progress(run_dir)[-1]["updates"]
    seen = len(progress(run_dir))
    play(config, until=lambda: False)
    assert all(point["updates"] >= before for point in progress(run_dir)[seen:])
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["updates"] == 40 and summary["final_success"] == 1.0
    assert any(point.get("loss/base") is not None for point in points(run_dir))
    # What actors played: the base, pushed where the algorithm says so.
    # A training that waits for no episode may be over before one ends.
    files = [*(run_dir / "replay" / "data").rglob("*.parquet")]
    pushed = [row for file in files for row in pandas.read_parquet(file)["residual"].map(any)]
    assert any(pushed) == (algo == "rejection_sampling") and (not pushed or not all(pushed))
    require_plain_base(config, run_dir / "checkpoints" / "bases" / "newest")
    require_plain_base(config, run_dir / "checkpoints" / "bases" / "best")


def play(config: Config, until: Callable[[], bool]) -> None:
    """A run's three processes, as threads, until the run is over or a fact is true."""
    stop, errors = threading.Event(), []

    def watched(role: Callable[[Config, threading.Event], None]) -> None:
        try:
            role(config, stop)
        except BaseException as error:  # a thread's error is raised below
            errors.append(error)
            stop.set()

    threads = [
        threading.Thread(target=watched, args=(role,)) for role in (run_learner, run_actor, run_evaluator)
    ]
    for thread in threads:
        thread.start()
    while threads[0].is_alive():
        threads[0].join(timeout=0.2)
        if until():
            stop.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def require_plain_base(config: Config, folder: Path) -> None:
    """Raises unless `base.path` opens the folder, and what it plays differs from what the run began with."""
    plans = []
    for path in (Path(config.base.path), folder):
        base = compose_config([f"base={type_of(config)}", f"base.path={path}"]).base
        made = make_base(base, config.task, "cpu")
        plans.append(made.plan(torch.full((2, made.obs_horizon, 42), 0.1), base_keys(2)))
    assert not plans[0].equal(plans[1])


def type_of(config: Config) -> str:
    return "lerobot" if (Path(config.base.path) / "config.json").is_file() else "diffusion"


def test_a_killed_learner_goes_on_with_every_success(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    words = (
        *SMALL, "algo=rejection_sampling", "algo.successes_to_start=3", "algo.rounds=50", "algo.sft_steps=20",
        "learner.total_frames=1000000", "actor.num_envs=4", f"runs_dir={tmp_path}",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip
    run_dir = tmp_path / "tuned"

    def start(module: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    learner, actor = start("learner"), start("actor")
    processes = [learner, actor]
    try:
        wait_for(lambda: points(run_dir) and points(run_dir)[-1]["updates"] >= 20, learner, actor)
        learner.kill()
        learner.wait()
        before = points(run_dir)
        processes.append(start("learner"))
        wait_for(lambda: len(points(run_dir)) > len(before) + 4, processes[-1], actor)
        after = points(run_dir)[len(before) :]
        for process in (actor, processes[-1]):
            process.send_signal(signal.SIGINT)
        output = processes[-1].communicate(timeout=60)[0]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            left_running(process.pid)
    assert processes[-1].returncode == 0, output
    assert "resumed the networks from update" in output
    assert after[0]["successes"] >= before[-1]["successes"] >= 3 and after[0]["updates"] > 0
    episodes = read_demonstrations(run_dir / "replay").episodes
    # Every success that was learned from is in the dataset.
    assert sum(bool(each.success.any()) for each in episodes) >= after[-1]["successes"]
