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

from torch import Tensor, nn

from actor.policy.checkpoint_file import read_checkpoint, write_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from config.files import replace_text


def load_agent(folder: Path) -> DiffusionAgent:
    """The agent of a checkpoint folder; EMA weights where there are any; strict.
    Raises CheckpointError: no such folder, unreadable file, or weights that do not fit `args.json`."""
    arguments = _read_arguments(folder / "args.json")
    weights = _read_weights(folder / "checkpoints" / "best.pt")
    agent = DiffusionAgent(_spec(arguments, weights, folder))
    try:
        agent.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"base checkpoint {folder}: weights do not fit its args.json: {error}"
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


def _read_arguments(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"no base checkpoint at {path.parent}: {path.name} is missing. "
            "base.path must be a folder with args.json and checkpoints/best.pt"
        )
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    content = read_checkpoint(path)
    for key in ("ema_agent", "agent"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            return content[key]
    raise CheckpointError(f"{path} has neither 'ema_agent' nor 'agent': not a base checkpoint")


def _spec(arguments: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> DiffusionSpec:
    """The network's sizes; observation and action dims are read off the weights themselves."""
    try:
        obs_horizon = int(arguments["obs_horizon"])
        step_dim = int(arguments["diffusion_step_embed_dim"])
        unet_dims = tuple(int(n) for n in arguments["unet_dims"])
        condition = weights["noise_pred_net.mid_modules.0.cond_encoder.1.weight"].shape[1]
        return DiffusionSpec(
            env_id=str(arguments.get("env_id", "")),
            control_mode=str(arguments["control_mode"]),
            obs_dim=(condition - step_dim) // obs_horizon,
            act_dim=weights["noise_pred_net.final_conv.1.weight"].shape[0],
            obs_horizon=obs_horizon,
            pred_horizon=int(arguments["pred_horizon"]),
            diffusion_step_embed_dim=step_dim,
            unet_dims=unet_dims,
            n_groups=int(arguments["n_groups"]),
            prediction_type=str(arguments.get("prediction_type", "epsilon")),
            normalize=bool(arguments.get("normalize", False)),
        )
    except KeyError as error:
        raise CheckpointError(f"base checkpoint {folder}: {error} is missing") from error
