"""The interface of a set of simulators: the record of one step, and the errors of a task.

Adapters start the next episode within the step that ended the last one, and say which observation was the
ended episode's last: nothing else has to know how a simulator resets.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import Images
from config.asked import Answer
from config.process import UsageError
from config.task import TaskConfig


class TaskError(UsageError):
    """A task that cannot be made; the message names the key."""


class UnplayableError(TaskError):
    """A task that can be made, and that no run can play."""


class RenderError(UsageError):
    """Cameras on a host that cannot draw; the message says what to install."""


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
        images: of task.cameras, colours or depth as `protocol.pictures` says, like `observation`.
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


@runtime_checkable
class RestingEnvironment(Protocol):
    """A `VectorEnvironment` whose sub-environments may rest: simulators on CPUs are."""

    def step_in(self, action: Tensor, acting: Tensor) -> Step:
        """As `step`, in sub-environments `acting` (N,) bool. Nothing happens in the others: their observation
        stays."""
        ...


class Simulator(Protocol):
    """What the file of a simulator in this package has (`adapters.py` chooses one)."""

    @property
    def PRELOADED(self) -> tuple[str, ...]:
        """Modules that the server of simulator processes imports once for all of them."""
        ...

    def require(self, task: TaskConfig, *, draws: bool) -> None:
        """Raise TaskError unless the task and its files are there, RenderError for cameras, or where pictures
        are drawn for a person, on a host that cannot draw. Imports the simulator."""
        ...

    def single_environment(
        self, task: TaskConfig, first_seed: int, stride: int, picture: tuple[int, int] | None = None
    ) -> gymnasium.Env:
        """One CPU simulator in this process, whose episode n has the seed first_seed + n * stride.

        Its actions are rows in [-1, 1], its observation a float32 row, or with cameras a dict as of
        `CameraObservation`; `info` is {"success": bool}.

        Args:
            picture: width and height of what `render` returns; None: it returns nothing.

        Raises TaskError, UnplayableError, RenderError.
        """
        ...

    def state_layout(self, task: TaskConfig) -> Answer:
        """The parts of an observation, and the dimension of an action. Raises TaskError, UnplayableError."""
        ...

    def first_observation(self, task: TaskConfig, seed: int) -> dict[str, Tensor]:
        """Each part's name and values (n,) in an episode's first observation, in their order.
        Raises TaskError."""
        ...

    def draws_slowly(self, task: TaskConfig) -> bool:
        """Whether the processor draws pictures of `task`; call it before anything else of the process draws.
        Raises RenderError."""
        ...


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
