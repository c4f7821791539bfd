"""A device that is not the processor, on machines that have no other.

Its tensors hold true numbers, which the processor computes. As those of a GPU they refuse to be mixed with
tensors of the host, to be turned into numpy arrays and to tell an address. In two ways it is stricter: rows
are not selected by slots on the host, which would wait for a copy, and a copy to the host is waited for.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

# Of those that torch can differentiate on without hardware, the one that nobody uses.
DEVICE = "lazy:0"
_AT = torch.ops.aten


@contextlib.contextmanager
def second_device() -> Iterator[str]:
    """Within it the device may be asked for by its name, for tensors and for random generators."""
    make_generator = torch.Generator

    class Generator(torch.Generator):  # a class, since modules that are imported within name it as a type
        def __new__(cls, device: str | torch.device = "cpu") -> torch.Generator:
            return make_generator() if _is_there(device) else make_generator(device)

    # So that torch.tensor(..., device=...) is a copy from the host, which can be seen.
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with mock.patch("torch.Generator", Generator), _Computes():
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


class There(Tensor):
    """A tensor of the second device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            held.stride(),
            held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(DEVICE),
        )
        made.held = held
        return made

    def data_ptr(self) -> NoReturn:
        raise RuntimeError(f"the address of a tensor on {DEVICE}, in code for the processor")

    # With these two a module that moves keeps its parameters' identity, as one that moves to a GPU does.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], *_: Any) -> "There":
        return There(parts["held"])

    @classmethod
    def __torch_dispatch__(cls, operation: Any, _types: Any, given: Any = (), more: Any = None) -> Any:
        return _compute(operation, given, more or {})


class _Computes(TorchDispatchMode):
    """For operations whose result alone is on the second device."""

    def __torch_dispatch__(self, operation: Any, _types: Any, given: Any = (), more: Any = None) -> Any:
        return _compute(operation, given, more or {})


def _compute(operation: Any, given: Any, more: dict[str, Any]) -> Any:
    copies = operation.overloadpacket in (_AT._to_copy, _AT.copy_)
    tensors = [leaf for leaf in tree_leaves((given, more)) if isinstance(leaf, Tensor)]
    comes_from_there = any(isinstance(tensor, There) for tensor in tensors)
    # A lone number of the host may meet any device.
    if comes_from_there and not copies and any(not isinstance(t, There) and t.dim() for t in tensors):
        places = ", ".join(str(tensor.device) for tensor in tensors)
        raise RuntimeError(f"{operation} of tensors on different devices: {places}")
    asked = more.get("device")
    stays_there = _is_there(asked) if asked is not None else comes_from_there
    if operation.overloadpacket is _AT.copy_:
        stays_there = isinstance(given[0], There)
    if comes_from_there and not stays_there and more.get("non_blocking"):
        raise RuntimeError("a copy to the host that nobody waits for: who reads it may come too early")
    if asked is not None:
        more = more | {"device": "cpu"}
    result = operation(*_held(given), **_held(more))
    if not stays_there:
        return result
    changed = _changed(operation, given, more)
    return tree_map_only(Tensor, There, result) if changed is None else changed


def _changed(operation: Any, given: Any, more: dict[str, Any]) -> Any:
    """What an operation in place gives back: the very object that it was given. None for all others."""
    returned = [value.alias_info for value in operation._schema.returns]
    for place, argument in enumerate(operation._schema.arguments):
        alias = argument.alias_info
        if alias is not None and alias.is_write and alias in returned:
            return given[place] if place < len(given) else more[argument.name]
    return None


def _held(tree: Any) -> Any:
    return tree_map_only(There, lambda tensor: tensor.held, tree)


def _is_there(device: str | torch.device) -> bool:
    return torch.device(device).type == torch.device(DEVICE).type
