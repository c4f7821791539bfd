"""No base at all: the residual alone acts."""

from __future__ import annotations

import torch
from torch import Tensor

from actor.policy.diffusion import CheckpointError
from actor.policy.images import NO_IMAGES, Images
from config.schema import Task, ZeroSettings
from config.spaces import spaces_of


class ZeroBase:
    """Plans of zeros.

    Raises:
        CheckpointError: config/spaces.yaml does not know the task or the control mode.
    """

    obs_horizon = 1
    fingerprint = "zero"
    cameras = ()

    def __init__(self, settings: ZeroSettings, task: Task) -> None:
        spaces = spaces_of(task)
        if spaces.observation_dim is None or spaces.action_dim is None:
            raise CheckpointError(
                f"base=zero cannot know the sizes of task.env_id={task.env_id}, "
                f"task.control_mode={task.control_mode}: add them to config/spaces.yaml"
            )
        self.act_horizon = settings.act_horizon
        self.observation_dim, self.action_dim = spaces.observation_dim, spaces.action_dim

    def plan(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """Zeros (B, act_horizon, action_dim)."""
        return torch.zeros(len(history), self.act_horizon, self.action_dim, device=history.device)

    def reseed(self, seed: int) -> None:
        """Nothing here is random."""
