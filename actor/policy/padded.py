"""Bases that were trained in ManiSkill2, whose observation has the robot's base pose as well."""

from collections.abc import Mapping

import torch
from torch import Tensor

from actor.policy.behaviour_transformer.base import BehaviourTransformerBase
from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.features import FeaturedBase
from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys

# Position and quaternion, after the panda's nine joint positions and nine velocities.
BASE_POSE = (-0.615, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
BASE_POSE_AT = 18


class PaddedBase:
    """A base of ManiSkill2 over observations of ManiSkill3, to which it adds the missing constants.
    Raises CheckpointError: the base's observation dimension is not `pad_obs_to`."""

    cameras: tuple[str, ...] = ()

    def __init__(self, base: FeaturedBase, pad_obs_to: int, path: str) -> None:
        if base.observation_dim != pad_obs_to:
            raise CheckpointError(
                f"base.pad_obs_to={pad_obs_to}, but base {path} takes {base.observation_dim} observation "
                "dimensions: set base.pad_obs_to to these, or to null for a base of ManiSkill3"
            )
        self._base, self._path = base, path
        self.obs_horizon, self.act_horizon = base.obs_horizon, base.act_horizon
        self.observation_dim = pad_obs_to - len(BASE_POSE)
        self.action_dim, self.features_dim = base.action_dim, base.features_dim
        self.fingerprint = f"{base.fingerprint}-{pad_obs_to}"

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """As that of the base below, for ManiSkill3's observations."""
        return self._base.plan(with_base_pose(history), keys)

    def features(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """As those of the base below, the added constants included."""
        return self._base.features(with_base_pose(history))

    def plan_with_features(
        self, history: Tensor, keys: Keys, images: Images = NO_IMAGES
    ) -> tuple[Tensor, Tensor]:
        """As `plan`, and the features of the same histories."""
        return self._base.plan_with_features(with_base_pose(history), keys)


class TrainablePaddedBase(PaddedBase):
    """As `PaddedBase`, over a base that another can be made of."""

    def __init__(self, base: DiffusionBase, pad_obs_to: int, path: str) -> None:
        super().__init__(base, pad_obs_to, path)
        self._trainable = base

    def weights(self) -> Mapping[str, Tensor]:
        """Of the base below."""
        return self._trainable.weights()

    def with_weights(self, weights: Mapping[str, Tensor]) -> "TrainablePaddedBase":
        """As `DiffusionBase.with_weights`."""
        made = self._trainable.with_weights(weights)
        return TrainablePaddedBase(made, made.observation_dim, self._path)


def with_base_pose(history: Tensor) -> Tensor:
    """ManiSkill3's observations (..., O) as ManiSkill2 has them (..., O + 7)."""
    pose = torch.tensor(BASE_POSE, device=history.device).expand(*history.shape[:-1], -1)
    before, after = history[..., :BASE_POSE_AT], history[..., BASE_POSE_AT:]
    return torch.cat([before, pose, after], dim=-1)


def padding_hint(base: BasePolicy, observation_dim: int) -> str:
    """What to do about a base whose observation dimension is not the task's."""
    of_published_layout = isinstance(base, DiffusionBase | BehaviourTransformerBase)
    if of_published_layout and base.observation_dim == observation_dim + len(BASE_POSE):
        return (
            "the seven more are the robot's base pose, so this is a checkpoint of ManiSkill2: set "
            f"base.pad_obs_to={base.observation_dim}"
        )
    return "choose a base that was trained on this task"
