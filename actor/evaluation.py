"""Success of a policy over fixed seeds: what a run's evaluator and an evaluation without a run share."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import msgspec
import torch
from torch import Tensor

from actor.policy.classifier.figures import judged_figures
from actor.policy.contract import BasePolicy
from actor.policy.decorated import DecoratedPolicy
from actor.policy.device import require_devices
from actor.policy.make import check_base_fits, make_base
from actor.policy.steered import evaluated_kind
from actor.simulators.adapters import require_task
from actor.simulators.contract import Step, VectorEnvironment
from actor.simulators.make import make_environment
from config.main import Config


class Outcome(msgspec.Struct, frozen=True):
    """How one episode ended."""

    seed: int
    success: bool
    """Of the last frame."""
    true_success: bool | None
    """As the simulator sees it, where a classifier says `success`; None: the simulator does."""
    frames: int
    start: list[float]
    """The episode's first observation."""


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation: `successes[i]` belongs to `seeds[i]`."""

    successes: list[bool]
    seeds: list[int]
    wall_s: float
    true_successes: list[bool] | None = None
    """As the simulator sees them, where a classifier says success."""

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], wall_s: float) -> Self:
        """From the outcomes of all episodes, in any order."""
        by_seed = sorted(outcomes, key=lambda outcome: outcome.seed)
        true = [each.true_success for each in by_seed if each.true_success is not None]
        return cls(
            successes=[each.success for each in by_seed],
            seeds=[each.seed for each in by_seed],
            wall_s=wall_s,
            true_successes=true or None,
        )

    def figures(self) -> dict[str, Any]:
        """As a line of JSON has them, with the success rate first."""
        rate = sum(self.successes) / len(self.successes)
        figures = {"success": rate, **asdict(self), "wall_s": round(self.wall_s, 1)}
        if self.true_successes is None:
            del figures["true_successes"]
            return figures
        return figures | judged_figures(self.successes, self.true_successes)


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
    settings, actor = config.learner.evaluation, config.actor
    envs = make_environment(
        config.task,
        actor.backend,
        settings.num_envs,
        settings.first_seed,
        actor.processes,
        device=actor.device,
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
    kind = DecoratedPolicy if plays == "base" else evaluated_kind(config.algo)
    return kind.of(config, base, num_envs=num_envs, first_seed=config.learner.evaluation.first_seed)


def run_episodes(
    envs: VectorEnvironment,
    policy: DecoratedPolicy,
    *,
    first_seed: int,
    episodes: int,
    goes_on: Callable[[], bool] = lambda: True,
    ended: Callable[[Outcome], object] = lambda outcome: None,
) -> EvaluationResult | None:
    """Play seeds first_seed .. first_seed + episodes - 1 once; success is that of the last frame.

    Every sub-environment plays its whole share: no bias towards episodes that end early.

    Args:
        goes_on: asked at every frame; False abandons the evaluation, and None is returned.
        ended: told of every episode when it ends.
    """
    started = time.monotonic()
    observation = envs.reset(first_seed)
    under_way, outcomes = UnderWay(first_seed, observation), []
    policy.begin(observation, images=envs.images)
    while len(outcomes) < episodes:
        if not goes_on():
            return None
        step = envs.step(policy.act().action)
        policy.observe(step.observation, step.images)
        if step.ended.any():
            policy.begin(step.observation, step.ended, step.images)
        for outcome in under_way.step(step):
            if outcome.seed < first_seed + episodes:
                outcomes.append(outcome)
                ended(outcome)
    return EvaluationResult.of(outcomes, time.monotonic() - started)


class UnderWay:
    """The episode that each sub-environment is in: its seed, its frames so far, its first observation."""

    def __init__(self, first_seed: int, observation: Tensor) -> None:
        self._seeds = [first_seed + i for i in range(len(observation))]
        self._frames = [0] * len(observation)
        self._starts = observation.tolist()

    def step(self, step: Step) -> list[Outcome]:
        """Those that ended with this step; the next ones begin."""
        self._frames = [frames + 1 for frames in self._frames]
        return [self._end(env, step) for env in step.ended.nonzero()[:, 0].tolist()]

    def _end(self, env: int, step: Step) -> Outcome:
        outcome = Outcome(
            seed=self._seeds[env],
            success=bool(step.success[env]),
            true_success=None if step.true_success is None else bool(step.true_success[env]),
            frames=self._frames[env],
            start=self._starts[env],
        )
        self._seeds[env] += len(self._seeds)
        self._frames[env], self._starts[env] = 0, step.observation[env].tolist()
        return outcome
