"""Pushes while a plan is converted: executed is the action and a push, recorded is the action alone.

A conversion aims at where the plan wants to be, so what is recorded behind a push is the way back (DART,
Laskey et al. 2017, arXiv 1703.09327). A policy that never saw a way back is lost once it is off by little.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

# Of the frames that no push is on: those that begin one. Pushes last 1 .. 11 frames, so that about a third
# of all frames are pushed; shorter ones average out, a much longer one is a plan of its own.
_BEGINS = 0.06
_LONGEST = 11
# Episodes without any, so that the way of the plan itself is well known.
_UNDISTURBED = 0.2


class Pushes:
    """What is added to the arm's numbers, frame by frame.
    `noise`: deviation of a push, of an action's range [-1, 1]."""

    def __init__(self, noise: float, seed: int) -> None:
        self._noise = noise
        self._random = np.random.default_rng(seed)
        self.begin_episode()

    def begin_episode(self) -> None:
        """Choose whether it is disturbed at all."""
        self._left = 0
        self._active = self._random.random() >= _UNDISTURBED

    def next(self, numbers: int) -> np.ndarray:
        """Of one frame, (numbers,) float32."""
        if self._left == 0 and self._active and self._random.random() < _BEGINS:
            self._left = int(self._random.integers(1, _LONGEST + 1))
            self._push = self._random.normal(0, self._noise, numbers)
        if self._left == 0:
            return np.zeros(numbers, np.float32)
        self._left -= 1
        return self._push.astype(np.float32)


@contextmanager
def failures_forgotten() -> Iterator[None]:
    """Within, a recorder forgets an episode that nobody saved when the next one begins.

    ManiSkill's replay leaves an episode that failed in the recorder's buffer, so that the next success
    would be written with the failure in front of it.
    """
    from mani_skill.utils.wrappers.record import RecordEpisode

    reset = RecordEpisode.reset

    def reset_empty(self: Any, *args: Any, **options: Any) -> Any:
        if self._trajectory_buffer is not None:
            self.flush_trajectory(save=False)
        return reset(self, *args, **options)

    with patch.object(RecordEpisode, "reset", reset_empty):
        yield


@contextmanager
def disturbed(control_mode: str, noise: float, seed: int) -> Iterator[None]:
    """Within, ManiSkill's environments of `control_mode` execute actions with pushes on the arm.

    A recorder keeps the actions as they came, and what was executed as the data set `executed` beside them.

    `noise`: see `Pushes`; 0: none."""
    from mani_skill.envs.sapien_env import BaseEnv
    from mani_skill.utils.wrappers.record import RecordEpisode

    if noise == 0:
        yield
        return
    pushes = Pushes(noise, seed)
    executed: list[np.ndarray] = []
    step, flush = BaseEnv.step, RecordEpisode.flush_trajectory

    def step_disturbed(self: Any, action: Any) -> Any:
        if action is None or self.control_mode != control_mode:
            return step(self, action)
        if int(self.elapsed_steps) == 0:
            pushes.begin_episode()
            executed.clear()
        pushed = np.array(action, np.float32)
        arm = slice(*self.agent.controller.action_mapping["arm"])
        pushed[..., arm] += pushes.next(pushed[..., arm].shape[-1])
        executed.append(pushed.clip(-1, 1))
        return step(self, executed[-1])

    def flush_with_executed(self: Any, *args: Any, save: bool = True, **options: Any) -> None:
        before = self._episode_id
        flush(self, *args, save=save, **options)
        if self._episode_id > before:
            group = self._h5_file[f"traj_{self._episode_id}"]
            group.create_dataset("executed", data=np.stack(executed).reshape(group["actions"].shape))

    with (
        patch.object(BaseEnv, "step", step_disturbed),
        patch.object(RecordEpisode, "flush_trajectory", flush_with_executed),
    ):
        yield
