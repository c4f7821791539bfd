"""The interface of a set of simulators: the record of one step, and the errors of a task.

Adapters start the next episode within the step that ended the last one, and say which observation was the
ended episode's last: nothing else has to know how a simulator resets.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import Images
from config.process import UsageError


class TaskError(UsageError):
    """A task that cannot be made; the message names the key."""


class UnplayableError(TaskError):
    """A task that can be made, and that no run can play."""


@dataclass(frozen=True)
class Step:
    """One step of N sub-environments; tensors on the simulator's device.

    Attributes:
        observation: (N, observation_dim) float32, to act on next: after a reset where one ended.
        reward: (N,) float32.
        terminated: (N,) bool, the episode ended for good.
        truncated: (N,) bool, the episode was cut at its limit; never together with `terminated`.
        success: (N,) bool, of the frame just executed.
        final_observation: (N, observation_dim) float32, true last observation where the episode
            ended, else equal to `observation`.
        images: of task.cameras, like `observation`.
        final_images: like `final_observation`.
        true_success: (N,) bool, as the simulator sees it, where something else says `success`.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    success: Tensor
    final_observation: Tensor
    images: Images = field(default_factory=dict)
    final_images: Images = field(default_factory=dict)
    true_success: Tensor | None = None

    @property
    def ended(self) -> Tensor:
        """(N,) bool: the episode ended with this step, and the next one has begun."""
        return self.terminated | self.truncated


class VectorEnvironment(Protocol):
    """N sub-environments that reset themselves."""

    num_envs: int
    observation_dim: int
    action_dim: int
    images: Images
    """Of task.cameras, beside the newest observation."""

    def reset(self, seed: int | None = None) -> Tensor:
        """First observations (N, observation_dim) of new episodes everywhere.

        With `seed`, sub-environment i plays seeds seed + i, seed + i + N, ... from here on.
        """
        ...

    def step(self, action: Tensor) -> Step:
        """Execute actions (N, action_dim) in [-1, 1]."""
        ...

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        """Begin the next episodes where `rows` (N,) bool, whose last ones have not ended: observations (N,
        observation_dim) and images to act on next there."""
        ...

    def picture(self) -> NDArray[np.uint8] | None:
        """(height, width, 3) of sub-environment 0, as a person sees it; None: it was made without."""
        ...

    def close(self) -> None: ...


def require_unit_actions(space: Any) -> None:
    """Raise UnplayableError unless actions are exactly [-1, 1], the only ones that bases plan."""
    if isinstance(space, gymnasium.spaces.Dict):
        raise UnplayableError("task.env_id has the actions of several robots, a base controls one")
    if not isinstance(space, gymnasium.spaces.Box):
        raise UnplayableError(
            f"task.env_id has actions of the kind {type(space).__name__}, bases plan numbers: choose a task "
            "whose actions are a Box"
        )
    if not (np.allclose(space.low, -1) and np.allclose(space.high, 1)):
        raise UnplayableError(
            "task.control_mode has actions outside [-1, 1]: choose a delta control mode such as "
            "pd_ee_delta_pose"
        )
