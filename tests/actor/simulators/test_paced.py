"""Simulated time that is not faster than real time."""

import logging

import pytest
import torch

from actor.simulators.paced import PacedEnvironment
from tests.support.fakes import ScriptedEnvironment


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


class Slow(ScriptedEnvironment):
    """A step takes some time of a clock."""

    def __init__(self, clock: Clock, step_s: float) -> None:
        super().__init__([[1000]])
        self._clock, self._step_s = clock, step_s

    def step(self, action):
        self._clock.now_s += self._step_s
        return super().step(action)


def times(step_s: float, frames: int) -> list[float]:
    clock = Clock()
    envs = PacedEnvironment(Slow(clock, step_s), 20, clock, clock.sleep)
    envs.reset()
    ends = []
    for _ in range(frames):
        envs.step(torch.zeros(1, 2))
        ends.append(clock.now_s)
    return [round(after - before, 6) for before, after in zip(ends[:-1], ends[1:], strict=True)]


def test_steps_come_at_the_control_frequency():
    assert times(step_s=0.01, frames=5) == [0.05] * 4


def test_where_simulators_are_slower_simulated_time_slows_down(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        assert times(step_s=0.1, frames=200) == [0.1] * 199
    assert "simulated time runs at 0.50 of real time: 10.0 frames/s" in caplog.text


def test_what_was_late_is_not_made_up_for():
    clock = Clock()
    slow = Slow(clock, 0.01)
    envs = PacedEnvironment(slow, 20, clock, clock.sleep)
    ends = []
    for step_s in (0.01, 0.5, 0.01, 0.01):
        slow._step_s = step_s
        envs.step(torch.zeros(1, 2))
        ends.append(clock.now_s)
    assert [round(b - a, 6) for a, b in zip(ends[:-1], ends[1:], strict=True)] == [0.5, 0.05, 0.05]
