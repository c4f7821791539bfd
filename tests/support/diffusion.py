"""Small diffusion bases."""

from typing import Any

import torch
from torch import Tensor

from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from actor.policy.noise import Keys, Use, keys_at, normal


def small_spec(**changes: Any) -> DiffusionSpec:
    """A network of two levels; `changes` replace its fields."""
    fields: dict[str, Any] = dict(
        env_id="PickCube-v1", control_mode="pd_ee_delta_pose", obs_dim=5, act_dim=3, obs_horizon=2,
        pred_horizon=8, diffusion_step_embed_dim=16, unet_dims=(16, 32), n_groups=4,
    )  # fmt: skip
    return DiffusionSpec(**(fields | changes))


def small_agent(**changes: Any) -> DiffusionAgent:
    """Random weights, the same at every call; no layer is near zero."""
    torch.manual_seed(0)
    agent = DiffusionAgent(small_spec(**changes))
    for parameter in agent.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return agent


def base_keys(rows: int, frame: int = 0) -> Keys:
    """Keys of the plans at one frame of episodes 0, 1, 2, ..."""
    return keys_at(range(rows), frame, Use.BASE)


def starting_noise(keys: Keys, spec: DiffusionSpec) -> Tensor:
    """Where the sampling of plans with these keys starts."""
    drawn = normal(keys, spec.pred_horizon * spec.act_dim)
    return torch.from_numpy(drawn).view(-1, spec.pred_horizon, spec.act_dim)
