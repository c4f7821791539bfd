"""Success of a base alone over fixed seeds: python -m actor.evaluate_base [Hydra overrides].

Its last line is one JSON object: success, successes, seeds, wall_s. The keys that matter are task, base and
learner.evaluation, of which `residual` names a checkpoint that plays with the base, and then algo; nothing is
connected to.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import torch
from tqdm import tqdm

from actor.evaluate import EvaluationResult, evaluated_policy, run_episodes
from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.decorated import BASE_ALONE, EvaluatedPolicy
from actor.policy.device import DeviceError, require_devices
from actor.policy.make import check_base_fits, make_base
from actor.simulators.contract import TaskError
from actor.simulators.headless import RenderError
from actor.simulators.make import make_environment
from actor.simulators.maniskill import require_task
from config.main import Config


def evaluate_base(config: Config, stop: threading.Event) -> EvaluationResult | None:
    """All episodes of `learner.evaluation`; None if `stop` was set meanwhile.

    Raises:
        CheckpointError, DeviceError, TaskError: see their messages.
    """
    settings = config.learner.evaluation
    require_devices(config.actor)
    require_task(config.task.env_id, config.task.cameras)
    base = make_base(config.base, config.task, config.actor.device, settings.first_seed)
    envs = make_environment(
        config.task, config.actor.backend, settings.num_envs, settings.first_seed, config.actor.processes
    )
    try:
        check_base_fits(base, envs.observation_dim, envs.action_dim, config.base.path)
        # In a terminal alone: what is printed elsewhere is the one line of the result.
        with tqdm(total=settings.episodes, desc=f"evaluating {config.task.env_id}", disable=None) as bar:
            return run_episodes(
                envs,
                make_policy(config, base, envs.num_envs),
                first_seed=settings.first_seed,
                episodes=settings.episodes,
                goes_on=lambda: not stop.is_set(),
                ended=Shown(bar),
            )
    finally:
        envs.close()


class Shown:
    """Success so far, on a bar."""

    def __init__(self, bar: tqdm) -> None:
        self._bar, self._successes = bar, 0

    def __call__(self, success: bool) -> None:
        self._successes += success
        self._bar.set_postfix_str(f"success {self._successes / (self._bar.n + 1):.0%}", refresh=False)
        self._bar.update()


def make_policy(config: Config, base: BasePolicy, num_envs: int) -> EvaluatedPolicy:
    """`base` alone, or with the residual that `learner.evaluation.residual` names, deterministic.

    Raises:
        CheckpointError: no checkpoint of a residual, or one of another recipe or task than configured.
    """
    place = config.learner.evaluation.residual
    if place is None:
        return evaluated_policy(config, base, num_envs, "base")
    policy = evaluated_policy(config, base, num_envs, "full")
    content = read_checkpoint(Path(place))
    try:
        policy.adopt(content["version"], content["actor"], BASE_ALONE)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"residual {place} is not one of this algo, base and task: give the keys of its run "
            f"({' '.join(str(error).split())})"
        ) from error
    return policy


def run(config: Config, stop: threading.Event) -> None:
    """Evaluate and print."""
    os.nice(config.learner.evaluation.nice)
    torch.set_num_threads(config.actor.threads)
    outcome = evaluate_base(config, stop)
    if outcome is None:
        return
    result = {
        "success": sum(outcome.successes) / len(outcome.successes),
        "successes": outcome.successes,
        "seeds": outcome.seeds,
        "wall_s": round(outcome.wall_s, 1),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    from config.process import main

    main(__doc__ or "", run, CheckpointError, DeviceError, TaskError, RenderError)
