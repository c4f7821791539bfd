"""Stacked multilayer perceptrons as native code for CPUs: `perceptrons.cpp`, forward and backward.

Same function as torch's operators one after the other, to the rounding of float32. On networks of this size
a torch operator costs as much as its arithmetic, and activations leave the caches between two of them.
"""

import ctypes
import itertools
from collections.abc import Sequence
from ctypes import POINTER, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from actor.policy.native.build import addresses, compiled_if_possible

SOURCE = Path(__file__).with_name("perceptrons.cpp")
MOST_LAYERS = 16  # as in perceptrons.cpp


class Network(ctypes.Structure):
    """As in perceptrons.cpp."""

    _fields_ = [
        ("layers", c_int32),
        ("normed", c_int32),
        ("by_output", c_int32),
        ("widths", POINTER(c_int32)),
        ("parameters", POINTER(c_void_p)),
    ]


class Input(ctypes.Structure):
    """As in perceptrons.cpp."""

    _fields_ = [
        *((name, c_int32) for name in ("rows", "observation_numbers", "observation_stride")),
        *((name, c_int32) for name in ("rest_numbers", "rest_stride")),
        *((name, c_void_p) for name in ("observation", "mean", "scale", "rest")),
    ]


class Wanted(ctypes.Structure):
    """As in perceptrons.cpp."""

    _fields_ = [("parameters", POINTER(c_void_p)), ("inputs", c_void_p), ("first", c_int32)]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled `perceptrons.cpp`; None, and one warning, where it cannot be compiled."""
    loaded = compiled_if_possible("networks with torch", SOURCE, SOURCE.with_name("products.h"))
    if loaded is None:
        return None
    network, data = POINTER(Network), c_void_p
    loaded.mlp_kept_size.restype = c_int64
    loaded.mlp_kept_size.argtypes = [network, c_int, c_int]
    loaded.mlp_forward.argtypes = [network, POINTER(Input), data, c_int, data, data]
    loaded.mlp_backward.argtypes = [network, c_int, c_int, data, data, POINTER(Wanted)]
    return loaded


def _compiled() -> ctypes.CDLL:
    """`library()`, for those who know that it is there."""
    loaded = library()
    assert loaded is not None
    return loaded


class Seen(NamedTuple):
    """Inputs (B, numbers): (observation - mean) * scale and, beside it, rest, if there is one."""

    observation: Tensor
    mean: Tensor
    scale: Tensor
    rest: Tensor | None


class Perceptrons:
    """What `perceptrons.cpp` computes, for networks of these sizes; knows no parameters.

    Args:
        widths: inputs, hidden layers, outputs.
        normed: layer norm behind each hidden layer.
        by_output: layout of weights: (outputs, inputs), as those of torch's Linear.
    """

    def __init__(self, widths: tuple[int, ...], *, normed: bool, by_output: bool) -> None:
        self._sizes = (widths, normed, by_output)
        self._widths = (c_int32 * len(widths))(*widths)
        self._count = 4 * (len(widths) - 2) + 2 if normed else 2 * (len(widths) - 1)
        self._free: list[Tensor] = []  # what backward passes have read

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, self._sizes

    def apply_to(self, seen: Seen, parameters: Sequence[Tensor]) -> bool:
        """Whether native code can compute this: float32 on the CPU, no gradient by the observation, and
        nobody asks for mixed precision, which is torch's.

        It runs on the calling thread, however many threads torch has: faster than torch's operators on two
        (docs/performance.md). A network's parameters are all alike.
        """
        return (
            len(self._widths) <= MOST_LAYERS
            and _plain(parameters[0])
            and _plain(seen.observation)
            and not seen.observation.requires_grad
            and (seen.rest is None or _plain(seen.rest))
            and not torch.is_autocast_enabled("cpu")
            and library() is not None
        )

    def __call__(self, seen: Seen, parameters: Sequence[Tensor], members: Tensor | None = None) -> Tensor:
        """Outputs (M, B, outputs).

        Args:
            parameters: of each layer weight, bias and, where it is normed, scale and shift; of all members.
            members: those to compute (M,), without gradient; None: all.
        """
        tracked = parameters if seen.rest is None else [*parameters, seen.rest]
        if members is None and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tracked):
            return cast(Tensor, _Tracked.apply(self, *seen, *parameters))
        return self.run(seen, parameters, members, keep=False)[0]

    @torch.no_grad()
    def run(
        self, seen: Seen, parameters: Sequence[Tensor], members: Tensor | None = None, *, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """As a call, without gradient; with `keep` also what `gradients` reads."""
        network = self._network(parameters)
        rows, numbers = seen.observation.shape
        observation, rest = _rows(seen.observation), None if seen.rest is None else _rows(seen.rest)
        count = self._members(parameters) if members is None else len(members)
        given = Input(
            rows, numbers, observation.stride(0),
            0 if rest is None else rest.shape[1], 0 if rest is None else rest.stride(0),
            observation.data_ptr(), seen.mean.data_ptr(), seen.scale.data_ptr(),
            None if rest is None else rest.data_ptr(),
        )  # fmt: skip
        out = observation.new_empty((count, rows, self._widths[-1]))
        kept = self._room(network, count, rows) if keep else None
        chosen = None if members is None else members.contiguous()
        _compiled().mlp_forward(
            network, given, None if chosen is None else chosen.data_ptr(), count,
            None if kept is None else kept.data_ptr(), out.data_ptr(),
        )  # fmt: skip
        return out, kept

    def gradients(
        self, parameters: Sequence[Tensor], kept: Tensor, d_out: Tensor, *, of_parameters: bool, rest: int
    ) -> tuple[list[Tensor] | None, Tensor | None]:
        """Gradients by all parameters, or None, and by the last `rest` inputs (B, rest), None for 0 of them.

        `kept` is used up.
        """
        members, rows, _ = d_out.shape
        d_out = d_out.contiguous()
        by_parameters = [torch.empty_like(tensor) for tensor in parameters] if of_parameters else None
        by_rest = d_out.new_empty((rows, rest)) if rest else None
        wanted = Wanted(
            None if by_parameters is None else addresses(by_parameters),
            None if by_rest is None else by_rest.data_ptr(),
            self._widths[0] - rest,
        )
        _compiled().mlp_backward(
            self._network(parameters), members, rows, kept.data_ptr(), d_out.data_ptr(), wanted
        )
        self._free.append(kept)
        return by_parameters, by_rest

    def _network(self, parameters: Sequence[Tensor]) -> Network:
        if len(parameters) != self._count:
            raise ValueError(f"{len(parameters)} parameters, these layers have {self._count}")
        _, normed, by_output = self._sizes
        return Network(len(self._widths) - 1, normed, by_output, self._widths, addresses(parameters))

    def _members(self, parameters: Sequence[Tensor]) -> int:
        return parameters[0].numel() // (self._widths[0] * self._widths[1])

    def _room(self, network: Network, members: int, rows: int) -> Tensor:
        size = _compiled().mlp_kept_size(network, members, rows)
        # Fresh memory costs a page fault every 4 kB: what an earlier pass has read serves again.
        while self._free:
            if len(room := self._free.pop()) == size:
                return room
        return torch.empty(size)


def _make(widths: tuple[int, ...], normed: bool, by_output: bool) -> Perceptrons:
    return Perceptrons(widths, normed=normed, by_output=by_output)


class _Tracked(torch.autograd.Function):
    """Of perceptrons, what is `Seen`, and parameters; gradients by its rest and by the parameters."""

    @staticmethod
    def forward(ctx: Any, perceptrons: Perceptrons, *inputs: Any) -> Tensor:
        seen, parameters = Seen(*inputs[:4]), inputs[4:]
        ctx.perceptrons, ctx.rest = perceptrons, 0 if seen.rest is None else seen.rest.shape[1]
        ctx.save_for_backward(*parameters)
        out, ctx.kept = perceptrons.run(seen, list(parameters), keep=True)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        if ctx.kept is None:
            raise RuntimeError("a second backward pass through native perceptrons: what it needs is gone")
        kept, ctx.kept = ctx.kept, None
        by_parameters, by_rest = ctx.perceptrons.gradients(
            list(ctx.saved_tensors), kept, gradients[0],
            of_parameters=any(ctx.needs_input_grad[5:]), rest=ctx.rest if ctx.needs_input_grad[4] else 0,
        )  # fmt: skip
        by_parameters = by_parameters or itertools.repeat(None, len(ctx.saved_tensors))
        return *itertools.repeat(None, 4), by_rest, *by_parameters


def _plain(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def _rows(matrix: Tensor) -> Tensor:
    return matrix if matrix.stride(1) == 1 else matrix.contiguous()
