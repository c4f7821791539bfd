"""A base without weights: the hand moves straight to a thing, and stays open."""

import torch
from torch import Tensor

from actor.policy.dimensions import dimensions_of
from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys
from config.task import TaskConfig
from residual_rl_example.settings import ApproachConfig


class Approach:
    """For control modes whose first three dimensions move the hand, and whose last one opens it."""

    obs_horizon = 1
    cameras: tuple[str, ...] = ()

    def __init__(self, settings: ApproachConfig, task: TaskConfig) -> None:
        self._settings, self.act_horizon = settings, settings.act_horizon
        self.observation_dim, self.action_dim = dimensions_of(task)
        self.fingerprint = f"approach {settings.gain} {settings.hand} {settings.thing}"

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """Plans (B, act_horizon, action_dim) for histories (B, 1, observation_dim): one action, repeated."""
        seen, hand, thing = history[:, -1], self._settings.hand, self._settings.thing
        way = seen[:, thing : thing + 3] - seen[:, hand : hand + 3]
        action = torch.zeros(len(seen), self.action_dim, device=seen.device)
        action[:, :3] = (self._settings.gain * way).clamp(-1, 1)
        action[:, -1] = 1.0
        return action[:, None].repeat(1, self.act_horizon, 1)
