"""CPU simulators, of one sub-environment each, in as many processes as there are processors for them.

Sub-environments of one process take turns. One process for each would be simpler but slower: at each frame
all wait for the last one, which waits for a processor.
"""

import itertools
import tempfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import NO_IMAGES, Images, tensor_of
from actor.simulators.adapters import simulator_of
from actor.simulators.bundle import FINAL, OUTCOME
from actor.simulators.cameras import STATE
from actor.simulators.contract import Step, TaskError
from actor.simulators.workers import Maker, ask_for_spaces, start_method
from config.limits import usable_processors
from config.task import TaskConfig


def part_of_processors(actors: int) -> int:
    """Simulator processes for one of several actors on this host: its share of all processors but the
    learner's. Rounded up, since simulators leave their processors to others while their actor plans."""
    return max(1, -(-(usable_processors() - 1) // actors))


def shares(num_envs: int, asked: int | None) -> list[range]:
    """Which of `num_envs` sub-environments share a process: as many processes as asked, or one less than
    there are processors. Shares differ by one at most. All wait for the largest share, so no process is
    started that leaves it as large as it is."""
    most = min(num_envs, asked or part_of_processors(1))
    largest = -(-num_envs // most)
    processes = -(-num_envs // largest)
    borders = [num_envs * i // processes for i in range(processes + 1)]
    return [range(first, stop) for first, stop in itertools.pairwise(borders)]


class ProcessEnvironment:
    """Bundles, each in a process of its own (gymnasium's AsyncVectorEnv)."""

    def __init__(
        self,
        task: TaskConfig,
        bundles: list[range],
        seed: int,
        picture: tuple[int, int] | None = None,
        alike: int = 1,
    ) -> None:
        from gymnasium.vector import AsyncVectorEnv, AutoresetMode

        self.num_envs = bundles[-1].stop
        self._firsts, self._seed = [bundle.start for bundle in bundles], seed
        self._places = max(map(len, bundles))
        # The place of each sub-environment among all bundles' places.
        self._at = np.concatenate([self._places * i + np.arange(len(b)) for i, b in enumerate(bundles)])
        method = start_method(simulator_of(task).PRELOADED)
        try:
            made = ask_for_spaces(method, task, self._places)
            self._bundles = AsyncVectorEnv(
                [
                    Maker(
                        made,
                        task,
                        range(seed + b.start, seed + b.stop),
                        self.num_envs,
                        self._places,
                        None if b.start else picture,
                        alike,
                    )
                    for b in bundles
                ],
                context=method,
                autoreset_mode=AutoresetMode.DISABLED,
            )
        except (EOFError, ConnectionError) as error:
            # By a signal to the whole group, or by the kernel when memory is short.
            raise TaskError(f"simulator processes were ended while they started: {error}") from error
        except OSError as error:
            raise TaskError(
                f"simulator processes cannot start: {error.strerror}: they need room in /dev/shm and in "
                f"{tempfile.gettempdir()}, memory, and open files (docs/how-to/containers.md)"
            ) from error
        spaces: Any = self._bundles
        self.action_dim: int = spaces.single_action_space.shape[1] - 1
        self.observation_dim: int = spaces.single_observation_space[STATE].shape[1]
        self.images: Images = NO_IMAGES
        self._all = torch.ones(self.num_envs, dtype=torch.bool)

    def reset(self, seed: int | None = None) -> Tensor:
        seeds = [None if seed is None else seed + first for first in self._firsts]
        return self._unbundled(self._bundles.reset(seed=seeds)[0]).observation

    def step(self, action: Tensor) -> Step:
        return self.step_in(action, self._all)

    def step_in(self, action: Tensor, acting: Tensor) -> Step:
        columns = self.action_dim + 1
        bundled = np.zeros((len(self._firsts) * self._places, columns), np.float32)
        bundled[self._at] = torch.column_stack([action.cpu(), acting.cpu()]).numpy()
        return self._unbundled(self._bundles.step(bundled.reshape(-1, self._places, columns))[0])

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        at = self._at[rows.cpu().numpy()]
        places = {self._seed + first: [] for first in self._firsts}
        for bundle, place in zip(at // self._places, at % self._places, strict=True):
            places[self._seed + self._firsts[bundle]].append(int(place))
        answers = self._bundles.call("restart", places)
        shown = {
            name: tensor_of(np.concatenate([answer[name] for answer in answers])[self._at])
            for name in answers[0]
        }
        return shown.pop(STATE), shown

    def picture(self) -> NDArray[np.uint8] | None:
        return self._bundles.call("picture")[0]

    def _unbundled(self, frames: dict[str, np.ndarray]) -> Step:
        rows = {name: tensor_of(part.reshape(-1, *part.shape[2:])[self._at]) for name, part in frames.items()}
        reward, terminated, truncated, success = rows.pop(OUTCOME).unbind(1)
        final = {name.removeprefix(FINAL): rows.pop(name) for name in list(rows) if name.startswith(FINAL)}
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
