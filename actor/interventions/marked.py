"""Simulators whose episodes a person may end."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.interventions.contract import ActionSource, Mark
from actor.policy.images import Images
from actor.simulators.cameras import replaced
from actor.simulators.contract import Step, VectorEnvironment


class MarkedEnvironment:
    """As `envs`. An episode that the source marks ends there, as the mark says: terminated with success and a
    reward of 1, or without. The next one begins as if the simulator had ended it."""

    def __init__(self, envs: VectorEnvironment, source: ActionSource) -> None:
        self._envs, self._source = envs, source
        self.num_envs = envs.num_envs
        self.observation_dim, self.action_dim = envs.observation_dim, envs.action_dim
        self.images: Images = envs.images
        self._episode = [0] * envs.num_envs
        self.thrown_away: set[tuple[int, int]] = set()
        """(sub-environment, episode), counted as a rollout does; whoever drops one removes it."""

    def reset(self, seed: int | None = None) -> Tensor:
        observation = self._envs.reset(seed)
        self.images = self._envs.images
        return observation

    def step(self, action: Tensor) -> Step:
        step = self._envs.step(action)
        if marks := self._source.marks():
            step = self._marked(step, marks)
        self.images = step.images
        for env in step.ended.nonzero()[:, 0].tolist():
            if marks.get(env) is Mark.THROWN_AWAY:
                self.thrown_away.add((env, self._episode[env]))
            self._episode[env] += 1
        return step

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        """As those of `envs`."""
        return self._envs.restart(rows)

    def picture(self) -> NDArray[np.uint8] | None:
        return self._envs.picture()

    def close(self) -> None:
        self._envs.close()

    def _marked(self, step: Step, marks: Mapping[int, Mark]) -> Step:
        rows = torch.tensor([*marks])
        marked = torch.zeros_like(step.success)
        marked[rows] = True
        good = torch.zeros_like(marked)
        good[rows] = torch.tensor([mark is Mark.SUCCESS for mark in marks.values()]).to(good)
        step = self._restarted(step, marked & ~step.ended)
        return replace(
            step,
            terminated=step.terminated | marked,
            truncated=step.truncated & ~marked,
            success=torch.where(marked, good, step.success),
            reward=torch.where(marked, good.to(step.reward), step.reward),
        )

    def _restarted(self, step: Step, rows: Tensor) -> Step:
        """With the next episodes begun in `rows` (N,) bool: what was seen there was the last observation."""
        if not rows.any():
            return step
        observation, images = self._envs.restart(rows)
        return replace(
            step,
            observation=torch.where(rows[:, None], observation.to(step.observation), step.observation),
            images=replaced(step.images, rows, {name: image[rows] for name, image in images.items()}),
        )
