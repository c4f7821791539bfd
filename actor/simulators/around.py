"""Simulators around other simulators: what they have in common."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import Images
from actor.simulators.cameras import replaced
from actor.simulators.contract import Step, VectorEnvironment


class EnvironmentAround:
    """As `envs`; whoever inherits from it changes a part of that."""

    def __init__(self, envs: VectorEnvironment) -> None:
        self._envs, self.num_envs = envs, envs.num_envs
        self.observation_dim, self.action_dim = envs.observation_dim, envs.action_dim
        self.images: Images = envs.images

    def reset(self, seed: int | None = None) -> Tensor:
        observation = self._envs.reset(seed)
        self.images = self._envs.images
        return observation

    def step(self, action: Tensor) -> Step:
        step = self._envs.step(action)
        self.images = step.images
        return step

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        return self._envs.restart(rows)

    def picture(self) -> NDArray[np.uint8] | None:
        return self._envs.picture()

    def close(self) -> None:
        self._envs.close()

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
