"""config.json of a policy of residual-rl."""

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, NormalizationMode
from lerobot.optim.optimizers import AdamWConfig


@PreTrainedConfig.register_subclass("residual_rl")
@dataclass
class ResidualRlConfig(PreTrainedConfig):
    """A frozen base and a residual on its plans.

    The observation is the features of `input_features` one after the other, without images.

    Attributes:
        base_type: diffusion, lerobot or zero.
        base: what the base's class in `bases.py` takes.
        act_horizon: actions of a plan that are executed before the next plan.
        residual_every: actions that one residual is chosen for.
        residual_scale: largest change of an action, one number or one for each dimension; 0: the base alone.
        residual_dims: action dimensions that the residual may change; None: all.
        residual_shape: "chunk" or "constant" (the same change in each of `residual_every` actions).
        relations: indices of positions that the residual sees relative to one another: point, tip, origin,
            turned.
        sees: what the residual sees beside the base's actions: "state" (the observation and `relations`),
            "proprioception".
        proprioception: the robot's part of the observation, as ranges [first, end).
        head: "gaussian" or "deterministic"; either acts with its mean.
        actor_input: "obs" or "obs_base_action".
        first_seed: sub-environment i of N plays the episodes first_seed + i, first_seed + i + N, ..., unless
            the batch says which (see `ResidualRlPolicy`).
        env_id, control_mode: of the task that it was trained on.
    """

    # lerobot-train asks for it. The base scales what it sees itself.
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {kind.value: NormalizationMode.IDENTITY for kind in FeatureType}
    )
    base_type: str = "zero"
    base: dict[str, Any] = field(default_factory=dict)
    act_horizon: int = 4
    residual_every: int = 4
    residual_scale: float | list[float] = 0.0
    residual_dims: list[int] | None = None
    residual_shape: str = "chunk"
    relations: list[dict[str, Any]] = field(default_factory=list)
    sees: list[str] = field(default_factory=lambda: ["state"])
    proprioception: list[list[int]] = field(default_factory=list)
    head: str = "deterministic"
    actor_input: str = "obs"
    hidden: list[int] = field(default_factory=lambda: [256, 256])
    first_seed: int = 0
    env_id: str = ""
    control_mode: str = ""

    @property
    def observation_dim(self) -> int:
        """Of the features beside images."""
        images = self.image_features
        return sum(feature.shape[0] for name, feature in self._inputs.items() if name not in images)

    @property
    def action_dim(self) -> int:
        if self.action_feature is None:
            raise ValueError("output_features has no action")
        return self.action_feature.shape[0]

    @property
    def state_features(self) -> list[str]:
        """Names of the features that make up the observation, in order."""
        images = self.image_features
        return [name for name in self._inputs if name not in images]

    @property
    def _inputs(self) -> dict[str, Any]:
        return self.input_features or {}

    def validate_features(self) -> None:
        """Raise ValueError unless there are an observation and an action."""
        if self.observation_dim == 0:
            raise ValueError("input_features has no observation.state: export the policy with residual-rl")
        if self.action_dim < 1 or self.act_horizon % self.residual_every:
            raise ValueError("action, act_horizon and residual_every of this config.json do not fit")

    @property
    def observation_delta_indices(self) -> list[int]:
        return list(range(1 - self.n_obs_steps, 1))

    @property
    def action_delta_indices(self) -> list[int]:
        frames = self.base.get("pred_horizon", self.act_horizon + self.n_obs_steps - 1)
        return list(range(1 - self.n_obs_steps, 1 - self.n_obs_steps + frames))

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> AdamWConfig:
        return AdamWConfig(lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)

    def get_scheduler_preset(self) -> None:
        return None
