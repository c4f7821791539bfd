"""Where a checkpoint, or weights from the wire, have a value that is not finite."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def non_finite_value(content: Any, name: str = "") -> str | None:
    """The first value of the tensors in nested dictionaries and lists that is not finite, as
    "actor.head.bias[3] is nan"; None if all are.

    The logarithm of a weight that is zero (`log_...`) may be minus infinity."""
    match content:
        case Tensor():
            return _in_tensor(content, name)
        case Mapping():
            items = content.items()
        case list() | tuple():
            items = enumerate(content)
        case _:
            return None
    found = (non_finite_value(value, f"{name}.{key}" if name else str(key)) for key, value in items)
    return next((each for each in found if each is not None), None)


def _in_tensor(tensor: Tensor, name: str) -> str | None:
    if not tensor.is_floating_point():
        return None
    usable = tensor.isfinite()
    if name.rpartition(".")[2].startswith("log_"):
        usable |= tensor == -torch.inf
    if usable.all():
        return None
    place = (~usable).nonzero()[0].tolist()
    return f"{name}{place or ''} is {tensor[tuple(place)].item()}"
