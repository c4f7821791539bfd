"""The interface of a base policy."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys
from config.process import UsageError
from config.task import TaskConfig


class BasePolicy(Protocol):
    """A frozen policy that plans `act_horizon` actions from the last `obs_horizon` observations."""

    obs_horizon: int
    act_horizon: int
    observation_dim: int
    action_dim: int
    fingerprint: str
    """Hash of the weights; learner and actors compare it."""
    cameras: tuple[str, ...]
    """The task's cameras whose images the policy reads."""

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """Plans (B, act_horizon, action_dim) for histories (B, obs_horizon, observation_dim).

        Args:
            keys: of the random numbers that each row's plan uses (B,); equal keys give equal plans.
            images: of its cameras, u1 (B, obs_horizon, height, width, 3) each.
        """
        ...


@runtime_checkable
class MakesBase(Protocol):
    """Settings of a package's own kind of base (`config/packages.py`), which make it."""

    def make(self, task: TaskConfig, device: str) -> BasePolicy: ...


class CheckpointError(UsageError):
    """A base checkpoint that cannot be used; the message says which, why and what to do."""
