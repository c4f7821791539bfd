"""Recorded states of ManiSkill, put back into a simulator and drawn."""

from collections.abc import Mapping
from typing import Any, cast

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

    def first(self, seed: int, recorded: np.ndarray, where: str) -> dict[str, np.ndarray]:
        """Begin the episode of `seed`, and draw it; `recorded` and `where` as of `show`."""
        with torch.inference_mode(), no_contacts(self._env.unwrapped):
            observation, _ = self._env.reset(seed=seed)
        return self._drawn(observation, recorded, f"{where}, seed {seed}")

    def show(self, state: Mapping[str, Any], recorded: np.ndarray, where: str) -> dict[str, np.ndarray]:
        """What each camera sees of a later state of the episode that began last: u1 (height, width, 3).

        Args:
            state: the simulator's, as ManiSkill's recorder writes it (env_states).
            recorded: f4 (O,), the state observation that was recorded there.
            where: of which file, episode and frame, for errors.

        Raises TaskError: the state is not one of this simulator, or its observation is another one than the
        recorded."""
        simulator: Any = self._env.unwrapped
        _require_like(state, simulator.get_state_dict(), where)
        with torch.inference_mode():
            simulator.set_state_dict(state)
            return self._drawn(simulator.get_obs(), recorded, where)

    def close(self) -> None:
        """Release the simulator."""
        self._env.close()

    def _drawn(self, observation: Any, recorded: np.ndarray, where: str) -> dict[str, np.ndarray]:
        cameras = self._task.cameras
        # Without cameras ManiSkill gives the state alone.
        found = (observation[STATE] if cameras else observation)[0].numpy()
        if found.shape != recorded.shape:
            raise TaskError(
                f"{where}: {len(recorded)} numbers in an observation, {self._task.env_id} here has "
                f"{len(found)}: it is of another task or another ManiSkill; make the demonstrations again"
            )
        off = np.abs(found - recorded)
        # A contact that the last episode left behind is a flag that flips: nothing that a camera sees.
        off[off == 1] = 0
        if not (off <= _ROUNDING).all():  # NaN is not
            dim = int(off.argmax())
            raise TaskError(
                f"{where}: not what {self._task.env_id} observes here: number {dim} of the observation is "
                f"{found[dim]:.3f}, and {recorded[dim]:.3f} in the demonstrations: seed or state are not "
                "the episode's, or they were made with another ManiSkill; make them again"
            )
        images = images_in(observation, cameras) if cameras else {}
        return {name: image[0].numpy() for name, image in images.items()}


def _require_like(state: Mapping[str, Any], own: Mapping[str, Any], where: str) -> None:
    """Raise TaskError unless a recorded state has the parts of the simulator's `own`, and finite numbers."""
    for name in own.keys() | state.keys():
        mine: Any = own.get(name)
        given: Any = state.get(name)
        if isinstance(mine, Mapping) and isinstance(given, Mapping):
            _require_like(cast(Mapping[str, Any], given), cast(Mapping[str, Any], mine), where)
        elif mine is None or given is None:
            lacks = "the simulator here lacks" if mine is None else "env_states lacks"
            raise TaskError(f"{where}: {lacks} {name}: it is of another task or another ManiSkill")
        elif not _is_row(given, width := 0 if isinstance(mine, Mapping) else np.shape(mine)[-1]):
            wanted = f"{width} finite numbers" if width else "a group"
            raise TaskError(f"{where}: {name} in env_states must be {wanted}: record it again")


def _is_row(given: Any, width: int) -> bool:
    values = np.asarray(given)
    return values.shape == (width,) and values.dtype.kind in "biuf" and bool(np.isfinite(values).all())
