"""Success of a base, alone or with a residual, over fixed seeds, without a learner.

python -m actor.evaluate_base --config FILE: evaluates the base alone for the training of a base.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from actor.evaluation import (
    EvaluationResult,
    Outcome,
    evaluated_policy,
    prepare_base,
    run_episodes,
    simulators,
)
from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.decorated import DecoratedPolicy
from actor.policy.finite import non_finite_value
from config.main import Config
from protocol.messages import BASE_ALONE


def evaluate_base(
    config: Config,
    residual: Path | None,
    stop: threading.Event,
    ended: Callable[[Outcome], object] = lambda outcome: None,
) -> EvaluationResult | None:
    """All episodes of `learner.evaluation`; None if `stop` was set meanwhile.

    Args:
        residual: checkpoint of a residual of the same algo, base and task; None: the base alone.
        ended: told of every episode when it ends.

    Raises CheckpointError, DeviceError, TaskError: see their messages."""
    if residual is not None:
        read_checkpoint(residual)  # a wrong file is refused before simulators are built
    settings = config.learner.evaluation
    os.nice(settings.nice)
    base = prepare_base(config)
    with simulators(config, base) as envs:
        return run_episodes(
            envs,
            make_policy(config, base, residual, envs.num_envs),
            first_seed=settings.first_seed,
            episodes=settings.episodes,
            goes_on=lambda: not stop.is_set(),
            ended=ended,
        )


def make_policy(config: Config, base: BasePolicy, residual: Path | None, num_envs: int) -> DecoratedPolicy:
    """`base` alone, or with a residual.
    Raises CheckpointError: no checkpoint of a residual, or one of another recipe or task than configured."""
    if residual is None:
        return evaluated_policy(config, base, num_envs, "base")
    policy = evaluated_policy(config, base, num_envs, "full")
    load_residual(policy, residual)
    return policy


def load_residual(policy: DecoratedPolicy, residual: Path) -> None:
    """Let `policy` act with the weights of a checkpoint. Raises CheckpointError: see `make_policy`."""
    content = read_checkpoint(residual)
    if (found := non_finite_value(content)) is not None:
        raise CheckpointError(f"residual {residual}: {found}: choose another checkpoint of its run")
    try:
        policy.adopt(content["version"], content["actor"], BASE_ALONE)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"residual {residual} does not fit this algo, base and task: give the keys of its run "
            f"({' '.join(str(error).split())})"
        ) from error


def run(config: Config, stop: threading.Event) -> None:
    """Evaluate the base alone and print one JSON object, for a process that started this one."""
    result = evaluate_base(config, None, stop)
    if result is not None:
        sys.stdout.write(json.dumps(result.figures()) + "\n")


if __name__ == "__main__":
    from config.compose import run_configured

    run_configured(__doc__ or "", lambda: run)
