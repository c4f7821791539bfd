"""A base's features: its own embedding of what it sees, for residuals that see what the base sees."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys
from actor.policy.sight import Sizes
from config.residual import ResidualConfig

LARGEST = float(torch.finfo(torch.float16).max)


class Planned(NamedTuple):
    """What a base gives at some histories, (R, ...)."""

    plan: Tensor
    """(R, frames, A)"""
    features: Tensor
    """float16 (R, E); E is 0 where nobody asks for them."""


@runtime_checkable
class FeaturedBase(BasePolicy, Protocol):
    """A base that says what it makes of what it sees."""

    features_dim: int
    """0: this one has none."""

    def features(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """(B, features_dim) for histories and images as `plan` takes them."""
        ...

    def plan_with_features(
        self, history: Tensor, keys: Keys, images: Images = NO_IMAGES
    ) -> tuple[Tensor, Tensor]:
        """As `plan`, and the features of the same histories."""
        ...


def sizes_of(base: BasePolicy, algo: ResidualConfig | None, path: str) -> Sizes:
    """What a residual of `algo` can see with this base; None: no residual.
    Raises CheckpointError: it needs features that the base does not have."""
    if algo is None or not algo.needs_features:
        return Sizes(base.observation_dim, 0)
    return Sizes(base.observation_dim, require_features(base, path).features_dim)


def require_features(base: BasePolicy, path: str) -> FeaturedBase:
    """Raise CheckpointError unless the base has features."""
    if isinstance(base, FeaturedBase) and base.features_dim:
        return base
    raise CheckpointError(
        f"algo.sees or algo.critics_see names features, base {path} has none: set both to [state], or choose "
        "base=diffusion, base=behaviour_transformer or a LeRobot policy of a class that has some "
        "(docs/how-to/what-the-residual-sees.md)"
    )


def rounded(features: Tensor) -> Tensor:
    """float16: the bits that residual, wire, ring and dataset have. What is too large becomes the largest."""
    return features.clamp(-LARGEST, LARGEST).to(torch.float16)


def planned(base: BasePolicy, history: Tensor, keys: Keys, images: Images, *, features: bool) -> Planned:
    """The base's plans, with its features if they are wanted."""
    if not features:
        plan = base.plan(history, keys, images)
        return Planned(plan, plan.new_zeros(len(plan), 0, dtype=torch.float16))
    assert isinstance(base, FeaturedBase)
    plan, found = base.plan_with_features(history, keys, images)
    return Planned(plan, rounded(found))
