"""Adam, and target networks, in one native pass over a network's parameters: `adam.cpp`.

Torch's fused Adam costs more in Python and for each tensor than in arithmetic, on networks of this size.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable
from ctypes import POINTER, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from actor.policy.compiled import NativeError, addresses, compiled

log = logging.getLogger(__name__)

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@cache
def library() -> ctypes.CDLL | None:
    """The compiled `adam.cpp`; None, and one warning, where it is not to be had."""
    try:
        loaded = compiled(Path(__file__).with_name("adam.cpp"))
    except NativeError as error:
        log.warning("Adam with torch, slower than native code: %s", error)
        return None
    sizes, pointers = POINTER(c_int64), POINTER(c_void_p)
    loaded.adam_step.argtypes = [c_int, sizes, *[pointers] * 4, *[c_double] * 4, c_int64]
    loaded.move_towards.argtypes = [c_int, sizes, pointers, pointers, c_float]
    return loaded


def make_adam(parameters: Iterable[nn.Parameter], lr: float) -> NativeAdam | torch.optim.Adam:
    """Adam as it is fastest for parameters of this kind."""
    listed = list(parameters)
    if _native(listed):
        return NativeAdam(listed, lr)
    return torch.optim.Adam(listed, lr=lr, fused=listed[0].device.type in ("cpu", "cuda"))


class NativeAdam:
    """Steps of `torch.optim.Adam`, to the rounding of float32; all parameters need a gradient."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        self._parameters, self._lr = parameters, lr
        self._moments = [[torch.zeros_like(p, requires_grad=False) for p in parameters] for _ in range(2)]
        self._moments_at = [addresses(moments) for moments in self._moments]
        self._sizes = _sizes(parameters)
        self._steps = 0

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def step(self) -> None:
        """Raises ValueError: a parameter has no gradient."""
        gradients = [
            parameter.grad.contiguous() for parameter in self._parameters if parameter.grad is not None
        ]
        if len(gradients) < len(self._parameters):
            raise ValueError(f"{len(gradients)} of {len(self._parameters)} parameters have a gradient")
        self._steps += 1
        library().adam_step(  # type: ignore[union-attr]
            len(gradients), self._sizes, addresses(self._parameters), addresses(gradients),
            *self._moments_at, self._lr, *BETAS, EPSILON, self._steps,
        )  # fmt: skip


@torch.no_grad()
def move_towards(targets: list[Tensor], sources: list[Tensor], share: float) -> None:
    """targets += share * (sources - targets), in place."""
    if _native(targets):
        library().move_towards(  # type: ignore[union-attr]
            len(targets), _sizes(targets), addresses(targets), addresses(sources), share
        )
    else:
        torch._foreach_lerp_(targets, sources, share)


def _native(tensors: list[nn.Parameter] | list[Tensor]) -> bool:
    plain = all(t.dtype == torch.float32 and t.device.type == "cpu" and t.is_contiguous() for t in tensors)
    return plain and torch.get_num_threads() == 1 and library() is not None


def _sizes(tensors: list[nn.Parameter] | list[Tensor]) -> ctypes.Array[c_int64]:
    return (c_int64 * len(tensors))(*[tensor.numel() for tensor in tensors])
