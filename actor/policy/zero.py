"""No base: all plans are zero, so only the residual acts."""

import torch
from torch import Tensor

from actor.policy.dimensions import dimensions_of
from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys
from config.base import ZeroBaseConfig
from config.task import TaskConfig


class ZeroBase:
    """Plans of zeros, of the task's dimensions."""

    obs_horizon = 1
    fingerprint = "zero"
    cameras: tuple[str, ...] = ()

    def __init__(self, settings: ZeroBaseConfig, task: TaskConfig) -> None:
        self.act_horizon = settings.act_horizon
        self.observation_dim, self.action_dim = dimensions_of(task)

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """Zeros (B, act_horizon, action_dim)."""
        return torch.zeros(len(history), self.act_horizon, self.action_dim, device=history.device)
