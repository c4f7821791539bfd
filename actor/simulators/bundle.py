"""Several CPU simulators that take turns in one process."""

import gc
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from actor.simulators.adapters import simulator_of
from actor.simulators.cameras import STATE
from config.task import TaskConfig

# Beside the observation to act on next: the true last one of an episode, and the outcome of the action.
FINAL = "final "
OUTCOME = "outcome"  # reward, terminated, truncated, success


class Bundle(gymnasium.Env):
    """Sub-environments as one that never ends: they reset themselves.

    Actions (E, action_dim + 1): where the last column is above 0 the sub-environment acts, else it rests. E
    places, as many as the largest bundle needs, since all bundles have the same shapes; places after a
    bundle's own are unused. Observation: state (E, observation_dim) and cameras (E, height, width, 3), to act
    on next; the same names after "final ", as `Step.final_observation`; "outcome" (E, 4) float32.
    """

    def __init__(
        self,
        task: TaskConfig,
        seeds: range,
        stride: int,
        places: int,
        picture: tuple[int, int] | None = None,
        alike: int = 1,
    ) -> None:
        # If a task rebuilds its scene at every reset, ManiSkill collects garbage there. Without this, looking
        # through the objects of all imports takes a third of PegInsertionSide's time.
        gc.freeze()
        self._seeds, self._alike, self._drawn = seeds, alike, picture is not None
        simulator = simulator_of(task)
        # Of the first one there are pictures.
        self._envs: list[Any] = [
            simulator.single_environment(
                task, self._shared(seed), stride, picture if seed == seeds.start else None
            )
            for seed in seeds
        ]
        single = self._envs[0].observation_space
        self._plain = not isinstance(single, gymnasium.spaces.Dict)
        shown: dict[str, Any] = dict(single) if isinstance(single, gymnasium.spaces.Dict) else {STATE: single}
        shown |= {FINAL + name: space for name, space in shown.items()}
        shown[OUTCOME] = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(
            {name: gymnasium.vector.utils.batch_space(space, places) for name, space in shown.items()}
        )
        columns = (self._envs[0].action_space.shape or (0,))[0] + 1
        self.action_space = gymnasium.spaces.Box(-1, 1, (places, columns), np.float32)
        self._frame: dict[str, np.ndarray] = {
            name: np.zeros(space.shape or (), space.dtype) for name, space in self.observation_space.items()
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        for i, env in enumerate(self._envs):
            observation, _ = env.reset(seed=None if seed is None else self._shared(seed + i))
            self._put(i, observation, "")
            self._put(i, observation, FINAL)
        self._frame[OUTCOME][:] = 0
        return self._frame, {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        for i, env in enumerate(self._envs):
            if not action[i, -1] > 0:
                self._rest(i)
                continue
            observation, reward, terminated, truncated, info = env.step(action[i, :-1])
            self._put(i, observation, FINAL)
            if terminated or truncated:
                observation, _ = env.reset()
            self._put(i, observation, "")
            self._frame[OUTCOME][i] = reward, terminated, truncated and not terminated, info["success"]
        return self._frame, 0.0, False, False, {}

    def _rest(self, i: int) -> None:
        """As if nothing had happened since the last observation."""
        for name in self._frame:
            if name.startswith(FINAL):
                self._frame[name][i] = self._frame[name.removeprefix(FINAL)][i]
        self._frame[OUTCOME][i] = 0

    def _shared(self, seed: int) -> int:
        """The seed of an episode that would have this one if it had a start of its own."""
        return seed - seed % self._alike

    def restart(self, places: Mapping[int, Sequence[int]]) -> dict[str, np.ndarray]:
        """Begin the next episodes in some places of this bundle; returns what to act on next, in all.
        `places`: those of each bundle, by its first seed."""
        for i in places.get(self._seeds.start, ()):
            observation, _ = self._envs[i].reset()
            self._put(i, observation, "")
        return {name: part for name, part in self._frame.items() if FINAL + name in self._frame}

    def picture(self) -> np.ndarray | None:
        """(height, width, 3) of the first sub-environment; None: it was made without."""
        return np.asarray(self._envs[0].render()) if self._drawn else None

    def _put(self, i: int, observation: Any, prefix: str) -> None:
        parts = {STATE: observation} if self._plain else observation
        for name, part in parts.items():
            self._frame[prefix + name][i] = part

    def close(self) -> None:
        for env in self._envs:
            env.close()
