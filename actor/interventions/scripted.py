"""The scripted expert of a task, asked as a policy is."""

from typing import Self

import torch
from torch import Tensor

from actor.experts.contract import Act
from actor.experts.table import expert_of
from actor.interventions.contract import Intervention
from actor.interventions.error import InterventionError
from actor.policy.images import NO_IMAGES, Images
from config.task import TaskConfig


class ScriptedPolicy:
    """Acts on the newest observation alone, so that it may begin in the middle of an episode."""

    def __init__(self, act: Act, action_dim: int) -> None:
        self._act, self._action_dim = act, action_dim
        self._newest = torch.zeros(0)

    @classmethod
    def of(cls, task: TaskConfig, sizes: tuple[int, int]) -> Self:
        """For an environment with these observation and action dimensions.
        Raises ConfigError: the task has no expert. InterventionError: it reads another observation."""
        expert, (observation_dim, action_dim) = expert_of(task), sizes
        if observation_dim != expert.observation_dim:
            raise InterventionError(
                f"the script of {task.env_id} reads an observation of {expert.observation_dim} numbers, "
                f"the run's has {observation_dim}: set task.obs=state or actor.expert.run"
            )
        return cls(expert.act, action_dim)

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """The next episodes begin in sub-environments `fresh` (N,) bool with `observation` (N, O)."""
        self._newest = observation

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """The newest observations (N, O)."""
        self._newest = observation

    def act_in(self, acting: Tensor) -> Intervention:
        """In sub-environments `acting` (N,) bool; actions are zero elsewhere."""
        action = torch.zeros(len(acting), self._action_dim)
        for row in acting.nonzero()[:, 0].tolist():
            action[row] = torch.from_numpy(self._act(self._newest[row].cpu().numpy()))
        return Intervention(acting, action)
