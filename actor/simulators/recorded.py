"""Recorded states of ManiSkill, put back into a simulator and drawn."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch

from actor.simulators.cameras import STATE, images_in
from actor.simulators.contacts import no_contacts
from actor.simulators.contract import TaskError
from actor.simulators.maniskill import make_simulator, require_task
from config.task import TaskConfig

_ROUNDING = 1e-3
"""Between an observation of a recorded state and that of the same state put back."""


class RecordedStates:
    """A CPU simulator with the cameras of `task`, which shows recorded episodes.

    Raises:
        TaskError: ManiSkill knows no such task or camera.
        RenderError: nothing here renders.
    """

    def __init__(self, task: TaskConfig) -> None:
        require_task(task.env_id, task.cameras)
        self._task = task
        # Shapes that are drawn with the scene depend on the episode's seed.
        self._env = make_simulator(msgspec.structs.replace(task, reconfigure=True), "physx_cpu", 1)

    def first(self, seed: int, recorded: np.ndarray) -> dict[str, np.ndarray]:
        """Begin the episode of `seed`, and draw it; `recorded` as of `show`."""
        with torch.inference_mode(), no_contacts(self._env.unwrapped):
            observation, _ = self._env.reset(seed=seed)
        return self._drawn(observation, recorded, f"seed {seed}")

    def show(self, state: Mapping[str, Any], recorded: np.ndarray) -> dict[str, np.ndarray]:
        """What each camera sees of a later state of the episode that began last: u1 (height, width, 3).

        Args:
            state: the simulator's, as ManiSkill's recorder writes it (env_states).
            recorded: f4 (O,), the state observation that was recorded there.

        Raises TaskError: the simulator's observation of it is another one than the recorded."""
        simulator: Any = self._env.unwrapped
        with torch.inference_mode():
            simulator.set_state_dict(state)
            return self._drawn(simulator.get_obs(), recorded, "a recorded state")

    def close(self) -> None:
        """Release the simulator."""
        self._env.close()

    def _drawn(self, observation: Any, recorded: np.ndarray, what: str) -> dict[str, np.ndarray]:
        cameras = self._task.cameras
        # Without cameras ManiSkill gives the state alone.
        found = (observation[STATE] if cameras else observation)[0].numpy()
        if found.shape != recorded.shape:
            raise TaskError(
                f"{self._task.env_id} has {len(found)} numbers in an observation, the demonstrations have "
                f"{len(recorded)}: they are of another task or another ManiSkill; make them again"
            )
        off = np.abs(found - recorded)
        # A contact that the last episode left behind is a flag that flips: nothing that a camera sees.
        off[off == 1] = 0
        if (off > _ROUNDING).any():
            dim = int(off.argmax())
            raise TaskError(
                f"{what} of {self._task.env_id} looks different here: number {dim} of its observation is "
                f"{found[dim]:.3f}, and {recorded[dim]:.3f} in the demonstrations: they were made with "
                "another ManiSkill or another robot; make them again"
            )
        images = images_in(observation, cameras) if cameras else {}
        return {name: image[0].numpy() for name, image in images.items()}
