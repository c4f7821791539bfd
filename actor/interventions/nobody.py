"""Nobody intervenes: for actors of a run in which others are taken over."""

from collections.abc import Mapping

import torch
from torch import Tensor

from actor.interventions.contract import Intervention, Mark
from actor.policy.images import NO_IMAGES, Images


class Nobody:
    """An `ActionSource` that never acts."""

    marks_episodes = False

    def __init__(self, num_envs: int, action_dim: int) -> None:
        self._taken = Intervention(torch.zeros(num_envs, dtype=torch.bool), torch.zeros(num_envs, action_dim))

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """Nothing."""

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """Nothing."""

    def act(self, proposed: Tensor) -> Intervention:
        return self._taken

    def marks(self) -> Mapping[int, Mark]:
        return {}

    def close(self) -> None:
        """Nothing."""
