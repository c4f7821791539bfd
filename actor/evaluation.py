"""Success of a policy over fixed seeds: what a run's evaluator and an evaluation without a run share."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from actor.policy.contract import BasePolicy
from actor.policy.decorated import DecoratedPolicy, EvaluatedPolicy
from actor.policy.device import require_devices
from actor.policy.make import check_base_fits, make_base
from actor.simulators.adapters import require_task
from actor.simulators.contract import VectorEnvironment
from actor.simulators.make import make_environment
from config.main import Config


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation: `successes[i]` belongs to `seeds[i]`."""

    successes: list[bool]
    seeds: list[int]
    wall_s: float

    def figures(self) -> dict[str, Any]:
        """As a line of JSON has them, with the success rate first."""
        rate = sum(self.successes) / len(self.successes)
        return {"success": rate, **asdict(self), "wall_s": round(self.wall_s, 1)}


def prepare_base(config: Config) -> BasePolicy:
    """The base, and this process set up for an evaluation.
    Raises CheckpointError, ConfigError, DeviceError, TaskError: see their messages."""
    torch.set_num_threads(config.actor.threads)
    require_devices(config.actor)
    require_task(config.task)
    return make_base(config.base, config.task, config.actor.device)


@contextmanager
def simulators(config: Config, base: BasePolicy) -> Iterator[VectorEnvironment]:
    """The evaluation's sub-environments, closed at the end.
    Raises CheckpointError, TaskError: they cannot be built, or do not fit the base."""
    settings = config.learner.evaluation
    envs = make_environment(
        config.task, config.actor.backend, settings.num_envs, settings.first_seed, config.actor.processes
    )
    try:
        check_base_fits(base, envs.observation_dim, envs.action_dim, config.base.path)
        yield envs
    finally:
        envs.close()


def evaluated_policy(
    config: Config, base: BasePolicy, num_envs: int, plays: Literal["base", "full"]
) -> DecoratedPolicy:
    """The base alone, or with a residual, still untrained, in every decision."""
    kind = {"base": DecoratedPolicy, "full": EvaluatedPolicy}[plays]
    return kind.of(config, base, num_envs=num_envs, first_seed=config.learner.evaluation.first_seed)


def run_episodes(
    envs: VectorEnvironment,
    policy: DecoratedPolicy,
    *,
    first_seed: int,
    episodes: int,
    goes_on: Callable[[], bool] = lambda: True,
    ended: Callable[[bool], object] = lambda success: None,
) -> EvaluationResult | None:
    """Play seeds first_seed .. first_seed + episodes - 1 once; success is that of the last frame.

    Every sub-environment plays its whole share: no bias towards episodes that end early.

    Args:
        goes_on: asked at every frame; False abandons the evaluation, and None is returned.
        ended: told of every episode's success when it ends.
    """
    started = time.monotonic()
    successes: dict[int, bool] = {}
    played = [0] * envs.num_envs
    policy.begin(envs.reset(first_seed), images=envs.images)
    while len(successes) < episodes:
        if not goes_on():
            return None
        step = envs.step(policy.act().action)
        policy.observe(step.observation, step.images)
        if step.ended.any():
            policy.begin(step.observation, step.ended, step.images)
        for env in step.ended.nonzero()[:, 0].tolist():
            index = env + played[env] * envs.num_envs
            played[env] += 1
            if index < episodes:
                successes[index] = bool(step.success[env])
                ended(successes[index])
    return EvaluationResult(
        successes=[successes[i] for i in range(episodes)],
        seeds=[first_seed + i for i in range(episodes)],
        wall_s=time.monotonic() - started,
    )
