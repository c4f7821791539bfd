"""Checkpoints of diffusion bases, in the published layout.

A checkpoint is a folder with `args.json` (the training arguments) and `checkpoints/best.pt`, a dict
`{"agent": state_dict, "ema_agent": state_dict}`. Two keys of `args.json` go beyond the published
layout and default to it: `prediction_type` ("epsilon") and `normalize` (false; true keeps the
demonstrations' ranges as buffers beside the network and scales both ends to [-1, 1]).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from actor.policy.checkpoint_file import reason, write_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.diffusion.arguments import Arguments, read_arguments
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from actor.policy.published import read_weights, require_fit, weights_of
from actor.policy.weights import Weights
from config.files import replace_text

# As long as a level has channels.
_LEVEL = "noise_pred_net.down_modules.{}.0.blocks.0.block.0.bias"


def load_agent(folder: Path) -> DiffusionAgent:
    """The agent of a checkpoint folder; EMA weights where there are any; strict.
    Raises CheckpointError: no such folder, unreadable file, or weights that do not fit `args.json`."""
    arguments = read_arguments(folder / "args.json")
    weights = read_weights(weights_of(folder))
    try:
        agent = DiffusionAgent(_spec(arguments, weights))
        require_fit(agent, weights)
        agent.load_state_dict(weights, strict=True)
        _try_out(agent)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"base checkpoint {folder}: weights do not fit its args.json: {reason(error)}"
        ) from error
    return agent


def save_agent(
    folder: Path, agent: nn.Module, ema_agent: DiffusionAgent, arguments: dict[str, Any], name: str = "best"
) -> None:
    """Replace args.json and checkpoints/<name>.pt.
    Raises CheckpointError: the weights cannot be written, as on a full disk."""
    spec = asdict(ema_agent.spec) | {"unet_dims": list(ema_agent.spec.unet_dims)}
    replace_text(folder / "args.json", json.dumps(arguments | spec, indent=2, sort_keys=True) + "\n")
    content = {"agent": agent.state_dict(), "ema_agent": ema_agent.state_dict()}
    write_checkpoint(folder / "checkpoints" / f"{name}.pt", content)


def _spec(arguments: Arguments, weights: Weights) -> DiffusionSpec:
    """The network's sizes, which the weights show as well, so that nothing is built that they do not fill.
    Raises ValueError: they are not there, or are not those of `args.json`."""
    step_dim = _size(weights, "diffusion_step_encoder.1.weight", 1)
    condition = _size(weights, "mid_modules.0.cond_encoder.1.weight", 1)
    obs_dim, rest = divmod(condition - step_dim, arguments.obs_horizon)
    if rest or obs_dim < 1:
        raise ValueError(
            f"the weights are conditioned on {condition - step_dim} numbers, which are no "
            f"obs_horizon={arguments.obs_horizon} observations"
        )
    levels = range(sum(f"{_LEVEL.format(level)}" in weights for level in range(len(weights))))
    found = {
        "obs_dim": obs_dim,
        "act_dim": _size(weights, "final_conv.1.bias", 0),
        "diffusion_step_embed_dim": step_dim,
        "unet_dims": tuple(len(weights[_LEVEL.format(level)]) for level in levels),
    }
    for key, value in found.items():
        if getattr(arguments, key) not in (None, value):
            raise ValueError(f"{key}={_text(getattr(arguments, key))}, the weights are of {_text(value)}")
    if arguments.pred_horizon % 2 ** (len(levels) - 1):
        raise ValueError(
            f"pred_horizon={arguments.pred_horizon} cannot be halved between the {len(levels)} levels of "
            "unet_dims"
        )
    return DiffusionSpec(
        env_id=arguments.env_id or "",
        control_mode=arguments.control_mode,
        obs_dim=obs_dim,
        act_dim=found["act_dim"],
        obs_horizon=arguments.obs_horizon,
        pred_horizon=arguments.pred_horizon,
        diffusion_step_embed_dim=arguments.diffusion_step_embed_dim,
        unet_dims=arguments.unet_dims,
        n_groups=arguments.n_groups,
        prediction_type=arguments.prediction_type,
        normalize=arguments.normalize,
    )


def _size(weights: Weights, name: str, axis: int) -> int:
    shape = weights[f"noise_pred_net.{name}"].shape if f"noise_pred_net.{name}" in weights else ()
    if len(shape) <= axis:
        raise ValueError(f"noise_pred_net.{name} is missing: no U-Net of diffusion policy")
    return shape[axis]


def _text(value: Any) -> str:
    return json.dumps(value).replace(" ", "")


@torch.no_grad()
def _try_out(agent: DiffusionAgent) -> None:
    """Predict once; raises RuntimeError or ArithmeticError: sizes that do not go together, or ranges without
    an extent."""
    spec = agent.spec
    noisy = torch.zeros(1, spec.pred_horizon, spec.act_dim)
    predicted = agent.predict(noisy, 0, torch.zeros(1, spec.obs_horizon, spec.obs_dim))
    if not torch.isfinite(agent.unscale_action(predicted)).all():
        raise ArithmeticError("its prediction is not finite")
