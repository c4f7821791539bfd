"""The interface of who may act instead of the policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from torch import Tensor

from actor.policy.images import NO_IMAGES, Images


class Mark(Enum):
    """What a person says of an episode; it ends there."""

    SUCCESS = "success"
    FAILURE = "failure"
    THROWN_AWAY = "thrown away"


@dataclass(frozen=True)
class Intervention:
    """For each of N sub-environments: whether the source acts in this frame, and with which action.

    Attributes:
        acting: (N,) bool. Elsewhere the policy acts.
        action: (N, A) in [-1, 1]; rows in which the source does not act are ignored.
    """

    acting: Tensor
    action: Tensor


class ActionSource(Protocol):
    """Asked in every frame, as a policy is."""

    marks_episodes: bool
    """Whether it ever marks one. Their rows are sent when they end, since one may be thrown away."""

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """The next episodes begin in sub-environments `fresh` (N,) bool; None: the first ones, in all."""
        ...

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """The newest observations (N, O)."""
        ...

    def act(self, proposed: Tensor) -> Intervention:
        """Of this frame, for which the policy proposes actions (N, A)."""
        ...

    def marks(self) -> Mapping[int, Mark]:
        """Sub-environment -> its mark, each told once; asked after every frame."""
        ...

    def close(self) -> None: ...
