"""The network of a diffusion base and the scaling of its inputs and outputs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actor.policy.diffusion.ddim import PredictionType
from actor.policy.diffusion.unet import ConditionalUnet1D


@dataclass(frozen=True)
class DiffusionSpec:
    """What `args.json` says of the network; names as in published checkpoints."""

    env_id: str
    control_mode: str
    obs_dim: int
    act_dim: int
    obs_horizon: int
    pred_horizon: int
    diffusion_step_embed_dim: int
    unet_dims: tuple[int, ...]
    n_groups: int
    prediction_type: PredictionType = "epsilon"
    normalize: bool = False


class DiffusionAgent(nn.Module):
    """Network and scaling; the part that is trained and saved."""

    obs_center: Tensor
    obs_half_range: Tensor
    action_center: Tensor
    action_half_range: Tensor

    def __init__(self, spec: DiffusionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.noise_pred_net = ConditionalUnet1D(
            action_dim=spec.act_dim,
            condition_dim=spec.obs_horizon * spec.obs_dim,
            step_dim=spec.diffusion_step_embed_dim,
            down_dims=spec.unet_dims,
            n_groups=spec.n_groups,
        )
        if spec.normalize:
            for name, size in (("obs", spec.obs_dim), ("action", spec.act_dim)):
                self.register_buffer(f"{name}_center", torch.zeros(size))
                self.register_buffer(f"{name}_half_range", torch.ones(size))

    def scale_observation(self, observation: Tensor) -> Tensor:
        if not self.spec.normalize:
            return observation
        # Clipped: a state outside the demonstrations must not blow the condition up.
        return ((observation - self.obs_center) / self.obs_half_range).clamp(-1.5, 1.5)

    def scale_action(self, action: Tensor) -> Tensor:
        return (action - self.action_center) / self.action_half_range if self.spec.normalize else action

    def unscale_action(self, action: Tensor) -> Tensor:
        return action * self.action_half_range + self.action_center if self.spec.normalize else action

    def predict(self, noisy: Tensor, step: Tensor | int, history: Tensor) -> Tensor:
        """Prediction (B, pred_horizon, act_dim) for noisy scaled actions.
        `history`: unscaled observations (B, obs_horizon, obs_dim), oldest first."""
        return self.noise_pred_net(noisy, step, self.condition(history))

    def condition(self, history: Tensor) -> Tensor:
        """What the network sees of histories, (B, obs_horizon * obs_dim)."""
        return self.scale_observation(history).flatten(1)
