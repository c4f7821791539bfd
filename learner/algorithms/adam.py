"""Adam, and target networks, in one native pass over a network's parameters: `adam.cpp`.

Torch's fused Adam costs more in Python and for each tensor than in arithmetic, on networks of this size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from ctypes import POINTER, c_double, c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from actor.policy.native.build import addresses, compiled_if_possible

BETAS = (0.9, 0.999)
EPSILON = 1e-8
_MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch names them


@cache
def library() -> ctypes.CDLL | None:
    """The compiled `adam.cpp`; None, and one warning, where it is not to be had."""
    loaded = compiled_if_possible("Adam with torch", Path(__file__).with_name("adam.cpp"))
    if loaded is None:
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


class NativeAdam(torch.optim.Adam):
    """Steps and state of `torch.optim.Adam`, to the rounding of float32; all parameters need a gradient."""

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, lr=lr, betas=BETAS, eps=EPSILON)
        self._parameters, self._sizes = parameters, _sizes(parameters)
        for parameter in parameters:
            moments = {name: torch.zeros_like(parameter, requires_grad=False) for name in _MOMENTS}
            self.state[parameter] = {"step": torch.tensor(0.0), **moments}

    def step(self) -> None:  # type: ignore[override]
        """Raises ValueError: a parameter has no gradient."""
        gradients = [
            parameter.grad.contiguous() for parameter in self._parameters if parameter.grad is not None
        ]
        if len(gradients) < len(self._parameters):
            raise ValueError(f"{len(gradients)} of {len(self._parameters)} parameters have a gradient")
        states = [self.state[parameter] for parameter in self._parameters]
        for state in states:
            state["step"] += 1
        library().adam_step(  # type: ignore[union-attr]
            len(gradients), self._sizes, addresses(self._parameters), addresses(gradients),
            *(addresses([state[name] for state in states]) for name in _MOMENTS),
            self.param_groups[0]["lr"], *BETAS, EPSILON, int(states[0]["step"]),
        )  # fmt: skip

    # Torch would wrap it for its profiler, which costs as much as the step.
    step.hooked = True  # type: ignore[attr-defined]


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
