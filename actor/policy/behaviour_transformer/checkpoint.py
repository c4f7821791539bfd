"""Checkpoints of behaviour transformers, in the published layout: see `actor/policy/published.py`."""

import re
from pathlib import Path

import torch

from actor.policy.behaviour_transformer.arguments import Arguments, read_arguments
from actor.policy.behaviour_transformer.dropout import none_dropped
from actor.policy.behaviour_transformer.network import TransformerAgent, TransformerSpec
from actor.policy.checkpoint_file import reason
from actor.policy.contract import CheckpointError
from actor.policy.published import read_weights, require_fit, weights_of
from actor.policy.weights import Weights

_TRANSFORMER = "net._gpt_model.transformer"
_BLOCK = re.compile(re.escape(_TRANSFORMER) + r"\.h\.(\d+)\.")


def load_transformer(folder: Path) -> TransformerAgent:
    """The agent of a checkpoint folder, strict.
    Raises CheckpointError: no such folder, unreadable file, or weights that do not fit `args.json`."""
    arguments, path = read_arguments(folder / "args.json"), weights_of(folder)
    weights = read_weights(path)
    try:
        agent = TransformerAgent(_spec(arguments, weights))
        require_fit(agent, weights)
        agent.load_state_dict(weights, strict=True)
        _try_out(agent)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"{path} does not fit the args.json of its folder: {reason(error)}: copy both from one training"
        ) from error
    return agent


def _spec(arguments: Arguments, weights: Weights) -> TransformerSpec:
    """The network's sizes, which the weights show as well, so that nothing is built that they do not fill.
    Raises ValueError: they are not there, or are not those of `args.json`."""
    found = {
        "context_window": _size(weights, f"{_TRANSFORMER}.wpe.weight", 0),
        "n_embedding": _size(weights, f"{_TRANSFORMER}.wpe.weight", 1),
        "n_layers": len({match[1] for name in weights if (match := _BLOCK.match(name))}),
        "n_clusters": _size(weights, "net._cluster_centers", 0),
    }
    for key, value in found.items():
        if getattr(arguments, key) != value:
            raise ValueError(f"{key}={getattr(arguments, key)}, the weights are of {value}")
    if arguments.n_embedding % arguments.n_heads:
        raise ValueError(f"n_heads={arguments.n_heads} does not divide n_embedding={arguments.n_embedding}")
    return TransformerSpec(
        env_id=arguments.env_id or "",
        control_mode=arguments.control_mode,
        n_heads=arguments.n_heads,
        obs_dim=_size(weights, f"{_TRANSFORMER}.wte.weight", 1),
        act_dim=_size(weights, "net._cluster_centers", 1),
        token_dim=_size(weights, "net._gpt_model.lm_head.weight", 0),
        **found,
    )


def _size(weights: Weights, name: str, axis: int) -> int:
    shape = weights[name].shape if name in weights else ()
    if len(shape) <= axis or shape[axis] < 1:
        raise ValueError(f"{name} is missing: no behaviour transformer")
    return shape[axis]


@torch.no_grad()
def _try_out(agent: TransformerAgent) -> None:
    """Act once; raises ArithmeticError: the action is not finite."""
    history = torch.zeros(1, agent.spec.context_window, agent.spec.obs_dim)
    if not torch.isfinite(agent.action(agent.token(history, none_dropped))).all():
        raise ArithmeticError("its action is not finite")
