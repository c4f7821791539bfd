"""Success of the base and of the full residual over fixed seeds, in a process of its own.

python -m actor.evaluate [Hydra overrides]: connects to the learner, evaluates the base once, the
newest residual every `learner.evaluation.every_s`, and the final residual over all seeds.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from actor.link.uplink import Uplink, UplinkError
from actor.link.weights import adopt_newest
from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.decorated import EvaluatedPolicy
from actor.policy.device import DeviceError, require_devices
from actor.policy.make import check_base_fits, make_base
from actor.policy.spec import experience_spec
from actor.simulators.contract import TaskError, VectorEnvironment
from actor.simulators.headless import RenderError
from actor.simulators.make import make_environment
from actor.simulators.maniskill import require_task
from config.main import Config

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation: `successes[i]` belongs to `seeds[i]`."""

    successes: list[bool]
    seeds: list[int]
    wall_s: float


def evaluated_policy(
    config: Config, base: BasePolicy, num_envs: int, plays: Literal["base", "full"]
) -> EvaluatedPolicy:
    """`base`, alone or with a residual that is still untrained; the same noise in every evaluation."""
    seed = config.learner.evaluation.first_seed
    return EvaluatedPolicy.of(config, base, num_envs=num_envs, seed=seed, plays=plays)


def run_episodes(
    envs: VectorEnvironment,
    policy: EvaluatedPolicy,
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


class Evaluator:
    """Evaluates when due, over one connection and one set of simulators."""

    def __init__(
        self,
        config: Config,
        base: BasePolicy,
        envs: VectorEnvironment,
        uplink: Uplink,
        stop: threading.Event,
    ) -> None:
        self._settings = config.learner.evaluation
        self._base, self._envs, self._uplink, self._stop = base, envs, uplink, stop
        self._policies = {
            plays: evaluated_policy(config, base, envs.num_envs, plays) for plays in ("base", "full")
        }

    def run(self) -> None:
        """Base first, then the residual as weights arrive, until the final ones are done."""
        last_s = time.monotonic()  # the base's evaluation counts: training goes on beside it
        self._evaluate("base", self._settings.episodes, lambda: not self._stop.is_set())
        full, final = self._policies["full"], False
        while not self._stop.is_set() and not self._finished():
            self._uplink.pump()
            weights = adopt_newest(self._uplink, full)
            final = final or (weights is not None and weights.final)
            if final:
                self._evaluate("full", self._settings.episodes, lambda: not self._stop.is_set())
                self._wait_for_the_end()
                return
            if time.monotonic() - last_s >= self._settings.every_s and full.weights_version > 0:
                self._evaluate("full", self._settings.interim_episodes, self._no_final_weights_yet)
                last_s = time.monotonic()
            self._stop.wait(0.05)

    def _evaluate(self, kind: Literal["base", "full"], episodes: int, goes_on: Callable[[], bool]) -> None:
        policy = self._policies[kind]
        # The base stays stochastic, but its noise is the same in every evaluation.
        self._base.reseed(self._settings.first_seed)

        def pumping() -> bool:
            self._uplink.pump()
            return goes_on()

        log.info("evaluating %s v%d over %d episodes", kind, policy.weights_version, episodes)
        outcome = run_episodes(
            self._envs,
            policy,
            first_seed=self._settings.first_seed,
            episodes=episodes,
            goes_on=pumping,
        )
        if outcome is not None:
            self._uplink.send_evaluation(
                policy=kind,
                version=policy.weights_version,
                successes=outcome.successes,
                seeds=outcome.seeds,
                wall_s=outcome.wall_s,
            )

    def _no_final_weights_yet(self) -> bool:
        progress = self._uplink.progress
        return not self._stop.is_set() and not (progress is not None and progress.evaluate)

    def _finished(self) -> bool:
        progress = self._uplink.progress
        return progress is not None and progress.finished

    def _wait_for_the_end(self) -> None:
        while not self._stop.is_set() and not self._finished():
            self._uplink.pump()
            self._stop.wait(0.05)


def run_evaluator(config: Config, stop: threading.Event) -> None:
    """One evaluator, from connection to the end of the run.

    Raises:
        CheckpointError, DeviceError, TaskError, UplinkError: see their messages.
    """
    os.nice(config.learner.evaluation.nice)
    torch.set_num_threads(config.actor.threads)
    settings = config.learner.evaluation
    require_devices(config.actor)
    require_task(config.task.env_id, config.task.cameras)
    base = make_base(config.base, config.task, config.actor.device, settings.first_seed)
    uplink = Uplink(
        config.wire,
        actor_id=f"evaluator-{config.actor.index}",
        role="evaluator",
        spec=experience_spec(config, base),
        stop=stop,
    )
    try:
        uplink.connect()
        envs = make_environment(
            config.task, config.actor.backend, settings.num_envs, settings.first_seed, config.actor.processes
        )
        try:
            check_base_fits(base, envs.observation_dim, envs.action_dim, config.base.path)
            Evaluator(config, base, envs, uplink, stop).run()
        finally:
            envs.close()
    finally:
        uplink.close()


if __name__ == "__main__":
    from config.compose import run_configured

    run_configured(
        __doc__ or "", run_evaluator, CheckpointError, DeviceError, TaskError, RenderError, UplinkError
    )
