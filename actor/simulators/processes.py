"""CPU simulators, of one sub-environment each, in as many processes as there are processors for them.

Sub-environments of one process take turns. One process for each would be simpler but slower: at each frame
all wait for the last one, which waits for a processor.
"""

import gc
import itertools
import multiprocessing
import os
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from actor.policy.images import NO_IMAGES, Images
from actor.simulators.cameras import STATE
from actor.simulators.contract import Step, TaskError, require_unit_actions
from actor.simulators.maniskill import single_environment
from config.task import TaskConfig

# Beside the observation to act on next: the true last one of an episode, and the outcome of the action.
_FINAL = "final "
_OUTCOME = "outcome"  # reward, terminated, truncated, success


def part_of_processors(actors: int) -> int:
    """Simulator processes for one of several actors on this host: its share of all processors but the
    learner's. Rounded up, since simulators leave their processors to others while their actor plans."""
    return max(1, -(-(len(os.sched_getaffinity(0)) - 1) // actors))


def shares(num_envs: int, asked: int | None) -> list[range]:
    """Which of `num_envs` sub-environments share a process: as many processes as asked, or one less than
    there are processors. Shares differ by one at most. All wait for the largest share, so no process is
    started that leaves it as large as it is."""
    most = min(num_envs, asked or part_of_processors(1))
    largest = -(-num_envs // most)
    processes = -(-num_envs // largest)
    borders = [num_envs * i // processes for i in range(processes + 1)]
    return [range(first, stop) for first, stop in itertools.pairwise(borders)]


class Bundle(gymnasium.Env):
    """Sub-environments as one that never ends: they reset themselves.

    Actions (E, action_dim): E places, as many as the largest bundle needs, since all bundles have the same
    shapes; places after a bundle's own are unused. Observation: state (E, observation_dim) and cameras (E,
    height, width, 3), to act on next; the same names after "final ", as `Step.final_observation`; "outcome"
    (E, 4) float32.
    """

    def __init__(self, task: TaskConfig, seeds: range, stride: int, places: int) -> None:
        # If a task rebuilds its scene at every reset, ManiSkill collects garbage there. Without this, looking
        # through the objects of all imports takes a third of PegInsertionSide's time.
        gc.freeze()
        self._envs = [single_environment(task, seed, stride) for seed in seeds]
        single = self._envs[0].observation_space
        self._plain = not isinstance(single, gymnasium.spaces.Dict)
        shown: dict[str, Any] = dict(single) if isinstance(single, gymnasium.spaces.Dict) else {STATE: single}
        shown |= {_FINAL + name: space for name, space in shown.items()}
        shown[_OUTCOME] = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(
            {name: gymnasium.vector.utils.batch_space(space, places) for name, space in shown.items()}
        )
        self.action_space = gymnasium.vector.utils.batch_space(self._envs[0].action_space, places)
        self._frame: dict[str, np.ndarray] = {
            name: np.zeros(space.shape or (), space.dtype) for name, space in self.observation_space.items()
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        for i, env in enumerate(self._envs):
            observation, _ = env.reset(seed=None if seed is None else seed + i)
            self._put(i, observation, "")
            self._put(i, observation, _FINAL)
        self._frame[_OUTCOME][:] = 0
        return self._frame, {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        for i, env in enumerate(self._envs):
            observation, reward, terminated, truncated, info = env.step(action[i])
            self._put(i, observation, _FINAL)
            if terminated or truncated:
                observation, _ = env.reset()
            self._put(i, observation, "")
            self._frame[_OUTCOME][i] = reward, terminated, truncated and not terminated, info["success"]
        return self._frame, 0.0, False, False, {}

    def _put(self, i: int, observation: Any, prefix: str) -> None:
        parts = {STATE: observation} if self._plain else observation
        for name, part in parts.items():
            self._frame[prefix + name][i] = part

    def close(self) -> None:
        for env in self._envs:
            env.close()


class _Maker:
    """Makes one bundle in its worker; a class, since the worker receives it pickled."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __call__(self) -> gymnasium.Env:
        return Bundle(*self._arguments)


class ProcessEnvironment:
    """Bundles, each in a process of its own (gymnasium's AsyncVectorEnv)."""

    def __init__(self, task: TaskConfig, bundles: list[range], seed: int) -> None:
        from gymnasium.vector import AsyncVectorEnv, AutoresetMode

        # The server that every worker is forked from imports once for all.
        multiprocessing.set_forkserver_preload(["actor.simulators.processes", "mani_skill.envs"])
        self.num_envs = bundles[-1].stop
        self._firsts = [bundle.start for bundle in bundles]
        self._places = max(map(len, bundles))
        # The place of each sub-environment among all bundles' places.
        self._at = np.concatenate([self._places * i + np.arange(len(b)) for i, b in enumerate(bundles)])
        try:
            self._bundles = AsyncVectorEnv(
                [
                    _Maker(task, range(seed + b.start, seed + b.stop), self.num_envs, self._places)
                    for b in bundles
                ],
                context="forkserver",
                autoreset_mode=AutoresetMode.DISABLED,
            )
        except (EOFError, ConnectionError) as error:
            # By a signal to the whole group, or by the kernel when memory is short.
            raise TaskError(f"simulator processes were ended while they started: {error}") from error
        spaces: Any = self._bundles
        self.action_dim: int = spaces.single_action_space.shape[1]
        self.observation_dim: int = spaces.single_observation_space[STATE].shape[1]
        self.images: Images = NO_IMAGES
        require_unit_actions(self._bundles.single_action_space)

    def reset(self, seed: int | None = None) -> Tensor:
        seeds = [None if seed is None else seed + first for first in self._firsts]
        return self._unbundled(self._bundles.reset(seed=seeds)[0]).observation

    def step(self, action: Tensor) -> Step:
        bundled = np.zeros((len(self._firsts) * self._places, self.action_dim), np.float32)
        bundled[self._at] = action.numpy()
        return self._unbundled(self._bundles.step(bundled.reshape(-1, self._places, self.action_dim))[0])

    def _unbundled(self, frames: dict[str, np.ndarray]) -> Step:
        rows = {
            name: torch.from_numpy(part.reshape(-1, *part.shape[2:])[self._at])
            for name, part in frames.items()
        }
        reward, terminated, truncated, success = rows.pop(_OUTCOME).unbind(1)
        final = {name.removeprefix(_FINAL): rows.pop(name) for name in list(rows) if name.startswith(_FINAL)}
        step = Step(
            observation=rows.pop(STATE),
            reward=reward,
            terminated=terminated.bool(),
            truncated=truncated.bool(),
            success=success.bool(),
            final_observation=final.pop(STATE),
            images=rows,
            final_images=final,
        )
        self.images = step.images
        return step

    def close(self) -> None:
        self._bundles.close(terminate=True)
