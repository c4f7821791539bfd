"""Success of the base and of the full residual over fixed seeds, in a process of its own.

python -m actor.evaluate [Hydra overrides]: connects to the learner, evaluates the base once, the
newest residual every `learner.evaluation.every_s`, and the final residual over all seeds.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Literal

from actor.evaluation import evaluated_policy, prepare_base, run_episodes, simulators
from actor.link.uplink import Uplink
from actor.link.weights import adopt_newest
from actor.policy.contract import BasePolicy
from actor.policy.spec import experience_spec
from actor.policy.trainable import most_bytes
from actor.simulators.contract import VectorEnvironment
from config.main import Config

log = logging.getLogger(__name__)


class Evaluator:
    """Evaluates when due, over one connection and one set of simulators."""

    def __init__(
        self, config: Config, base: BasePolicy, envs: VectorEnvironment, uplink: Uplink, stop: threading.Event
    ) -> None:
        self._settings = config.learner.evaluation
        self._envs, self._uplink, self._stop = envs, uplink, stop
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
            full.end_episodes()
            final = final or (weights is not None and weights.final)
            if final:
                self._evaluate("full", self._settings.episodes, lambda: not self._stop.is_set())
                break
            if time.monotonic() - last_s >= self._settings.every_s and full.weights_version > 0:
                self._evaluate("full", self._settings.interim_episodes, self._no_final_weights_yet)
                last_s = time.monotonic()
            self._stop.wait(0.05)
        while not self._stop.is_set() and not self._finished():
            self._uplink.pump()
            self._stop.wait(0.05)

    def _evaluate(self, kind: Literal["base", "full"], episodes: int, goes_on: Callable[[], bool]) -> None:
        policy = self._policies[kind]

        def pumping() -> bool:
            self._uplink.pump()
            return goes_on()

        log.info("evaluating %s v%d over %d episodes", kind, policy.weights_version, episodes)
        result = run_episodes(
            self._envs, policy, first_seed=self._settings.first_seed, episodes=episodes, goes_on=pumping
        )
        if result is not None:
            self._uplink.send_evaluation(
                policy=kind,
                version=policy.weights_version,
                successes=result.successes,
                seeds=result.seeds,
                wall_s=result.wall_s,
                true_successes=result.true_successes,
            )

    def _no_final_weights_yet(self) -> bool:
        progress = self._uplink.progress
        return not self._stop.is_set() and not (progress is not None and progress.evaluate)

    def _finished(self) -> bool:
        progress = self._uplink.progress
        return progress is not None and progress.finished


def run_evaluator(config: Config, stop: threading.Event) -> None:
    """One evaluator, from connection to the end of the run.
    Raises CheckpointError, DeviceError, TaskError, UplinkError: see their messages."""
    os.nice(config.learner.evaluation.nice)
    base = prepare_base(config)
    # Simulators first: see `run_actor`.
    with simulators(config, base) as envs:
        uplink = Uplink(
            config.wire,
            actor_id=f"evaluator-{config.actor.index}",
            role="evaluator",
            spec=experience_spec(config, base),
            stop=stop,
            most_base_bytes=most_bytes(base) if config.algo.trains_base else 0,
        )
        try:
            uplink.connect()
            Evaluator(config, base, envs, uplink, stop).run()
        finally:
            uplink.close()


if __name__ == "__main__":
    from config.compose import run_configured

    run_configured(__doc__ or "", lambda: run_evaluator)
