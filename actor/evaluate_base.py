"""Success of a base alone over fixed seeds: python -m actor.evaluate_base [Hydra overrides].

Its last line is one JSON object: success, successes, seeds, wall_s. The keys that matter are task, base and
learner.evaluation; nothing is connected to.
"""

from __future__ import annotations

import json
import os
import sys
import threading

import torch

from actor.environment import TaskError, make_environment, require_task
from actor.evaluate import Outcome, evaluated_policy, run_episodes
from actor.headless import RenderError
from actor.policy.base import make_base
from actor.policy.device import DeviceError, require_devices
from actor.policy.diffusion import CheckpointError
from config.schema import Config


def evaluate_base(config: Config, stop: threading.Event) -> Outcome | None:
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
        return run_episodes(
            envs,
            evaluated_policy(config, base, envs.num_envs, "base"),
            first_seed=settings.first_seed,
            episodes=settings.episodes,
            goes_on=lambda: not stop.is_set(),
        )
    finally:
        envs.close()


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
    from config.cli import main

    main(__doc__ or "", run, CheckpointError, DeviceError, TaskError, RenderError)
