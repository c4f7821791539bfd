"""Success of a base over fixed seeds, without a run: python -m actor.evaluate_base [Hydra overrides].

Its last line is one JSON object: success, successes, seeds, wall_s. The keys that matter are task, base and
learner.evaluation. learner.evaluation.residual names a checkpoint of a residual that plays with the base;
then algo matters as well.
"""

import json
import os
import sys
import threading
from pathlib import Path

from tqdm import tqdm

from actor.evaluation import EvaluationResult, evaluated_policy, prepare_base, run_episodes, simulators
from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.decorated import DecoratedPolicy
from actor.policy.device import DeviceError
from actor.simulators.contract import TaskError
from actor.simulators.headless import RenderError
from config.main import Config
from protocol.messages import BASE_ALONE


def evaluate_base(config: Config, stop: threading.Event) -> EvaluationResult | None:
    """All episodes of `learner.evaluation`; None if `stop` was set meanwhile.
    Raises CheckpointError, DeviceError, TaskError: see their messages."""
    settings = config.learner.evaluation
    base = prepare_base(config)
    # The bar is only for terminals: elsewhere one line with the result is printed.
    with (
        simulators(config, base) as envs,
        tqdm(total=settings.episodes, desc=f"evaluating {config.task.env_id}", disable=None) as bar,
    ):
        return run_episodes(
            envs,
            make_policy(config, base, envs.num_envs),
            first_seed=settings.first_seed,
            episodes=settings.episodes,
            goes_on=lambda: not stop.is_set(),
            ended=Shown(bar),
        )


class Shown:
    """Success so far, on a bar."""

    def __init__(self, bar: tqdm) -> None:
        self._bar, self._successes = bar, 0

    def __call__(self, success: bool) -> None:
        self._successes += success
        self._bar.set_postfix_str(f"success {self._successes / (self._bar.n + 1):.0%}", refresh=False)
        self._bar.update()


def make_policy(config: Config, base: BasePolicy, num_envs: int) -> DecoratedPolicy:
    """`base` alone, or with the residual that `learner.evaluation.residual` names.
    Raises CheckpointError: no checkpoint of a residual, or one of another recipe or task than configured."""
    residual = config.learner.evaluation.residual
    if residual is None:
        return evaluated_policy(config, base, num_envs, "base")
    policy = evaluated_policy(config, base, num_envs, "full")
    content = read_checkpoint(Path(residual))
    try:
        policy.adopt(content["version"], content["actor"], BASE_ALONE)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"residual {residual} does not fit this algo, base and task: give the keys of its run "
            f"({' '.join(str(error).split())})"
        ) from error
    return policy


def run(config: Config, stop: threading.Event) -> None:
    os.nice(config.learner.evaluation.nice)
    result = evaluate_base(config, stop)
    if result is None:
        return
    shown = {
        "success": sum(result.successes) / len(result.successes),
        "successes": result.successes,
        "seeds": result.seeds,
        "wall_s": round(result.wall_s, 1),
    }
    sys.stdout.write(json.dumps(shown) + "\n")


if __name__ == "__main__":
    from config.compose import run_configured

    run_configured(__doc__ or "", run, CheckpointError, DeviceError, TaskError, RenderError)
