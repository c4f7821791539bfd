"""Simulators that are not faster than real time."""

import logging
import time
from collections.abc import Callable

from torch import Tensor

from actor.simulators.around import EnvironmentAround
from actor.simulators.contract import Step, VectorEnvironment

log = logging.getLogger(__name__)

SAY_EVERY_S = 10.0
# Of real time: less is said.
_SLOW = 0.95


class PacedEnvironment(EnvironmentAround):
    """As `envs`, with a step every 1 / `fps` seconds at most. Where they are slower, simulated time is, and
    the log says how much.

    Args:
        clock, sleep: as `time.monotonic` and `time.sleep`.
    """

    def __init__(
        self,
        envs: VectorEnvironment,
        fps: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(envs)
        self._period_s = 1 / fps
        self._clock, self._sleep = clock, sleep
        self._due_s: float | None = None
        self._since_s, self._frames = clock(), 0

    def step(self, action: Tensor) -> Step:
        """Returns when the next frame is due: who acts in it is asked then."""
        step = super().step(action)
        now_s = self._clock()
        # What is late is not made up for: nobody drives a robot that jumps.
        due_s = max(now_s, now_s if self._due_s is None else self._due_s)
        if due_s > now_s:
            self._sleep(due_s - now_s)
        self._due_s = due_s + self._period_s
        self._say(due_s)
        return step

    def _say(self, now_s: float) -> None:
        self._frames += 1
        passed_s = now_s - self._since_s
        if passed_s < SAY_EVERY_S:
            return
        speed = self._frames * self._period_s / passed_s
        if speed < _SLOW:
            rate = self._frames / passed_s
            log.info("simulated time runs at %.2f of real time: %.1f frames/s", speed, rate)
        self._since_s, self._frames = now_s, 0
