"""Folders of bases in Policy Decorator's layout: `args.json`, the training arguments, and
`checkpoints/best.pt`, a dict `{"agent": state_dict}`, of some kinds with `"ema_agent"` as well."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.weights import Weights, plain_weights
from config.base import KEY_OF_KIND, kind_of


def read_arguments[T](
    path: Path, kind: str, wanted: type[T], implemented: Mapping[str, tuple[Any, ...]]
) -> T:
    """The keys of args.json that `wanted` has.

    Args:
        kind: of the base that is asked for, as `base=<kind>` has it.
        implemented: keys that change a policy and that published files do not have, with the values that
            can be used.

    Raises:
        CheckpointError: no such file, not JSON, of another kind of base, or a value that cannot be used;
            names the key.
    """
    found = _parse(path)
    there = kind_of(found)
    if there is not None and there != kind:
        raise CheckpointError(
            f"{path} has {KEY_OF_KIND[there]}, so this is no base={kind}: choose base={there}, or "
            "another base.path"
        )
    try:
        # Not strict: numbers may be strings, as command lines leave them.
        arguments = msgspec.convert(found, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: {error}: give what the base was trained with") from error
    for key, values in implemented.items():
        if key in found and found[key] not in values:
            known = " or ".join(map(json.dumps, values))
            raise CheckpointError(
                f"{path}: {key}={json.dumps(found[key])} is not implemented, only {known}: choose another "
                "base"
            )
    return arguments


def _parse(path: Path) -> Any:
    try:
        # Editors on Windows put a mark before the text.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CheckpointError(
            f"no base checkpoint at {path.parent}: {path.name} is missing. "
            "base.path must be a folder with args.json and checkpoints/best.pt"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not JSON: {error}: copy it again from where the base was trained"
        ) from error


def weights_of(folder: Path) -> Path:
    """best.pt, or what bases that were pushed have instead."""
    own, pushed = (folder / "checkpoints" / f"best.{kind}" for kind in ("pt", "safetensors"))
    return pushed if pushed.is_file() and not own.exists() else own


def read_weights(path: Path) -> Weights:
    """EMA weights where there are any.
    Raises CheckpointError: it cannot be read, or has no finite weights of an agent."""
    content = read_checkpoint(path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds one {type(content).__name__}: save a state dict instead, "
            "torch.save({'ema_agent': agent.state_dict()}, path)"
        )
    for key in ("ema_agent", "agent"):
        if content.get(key) is not None:
            return plain_weights(content[key], f"{path}, {key}")
    raise CheckpointError(
        f"{path} has neither 'ema_agent' nor 'agent': not a base checkpoint, or save its state dict under "
        "one of these names"
    )


def require_fit(agent: nn.Module, weights: Weights) -> None:
    """Raise ValueError, which names a weight, unless names and shapes are those of the network."""
    shapes = {name: list(value.shape) for name, value in agent.state_dict().items()}
    for name in sorted(shapes.keys() - weights.keys()):
        raise ValueError(f"{name} is missing")
    for name in sorted(weights.keys() - shapes.keys()):
        raise ValueError(f"the network of args.json has no {name}")
    for name, shape in shapes.items():
        if list(weights[name].shape) != shape:
            raise ValueError(f"{name} has the shape {list(weights[name].shape)}, args.json asks for {shape}")
