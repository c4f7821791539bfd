"""What experience must look like before it is admitted."""

from __future__ import annotations

import functools
import math

import numpy as np

from protocol.arrays import ProtocolError
from protocol.messages import Columns, ExperienceSpec

_FINITE = (
    "observation",
    "action",
    "base_plan",
    "residual",
    "reward",
    "final_observation",
    "final_base_plan",
)

IMAGE_PREFIX, FINAL_IMAGE_PREFIX = "image.", "final_image."

_UNSIGNED = {4: np.dtype("u4"), 8: np.dtype("u8")}
_COUNTERS = {"sub_env": 2**31 - 1, "episode": 2**63 - 1, "decision": 2**31 - 1}

_Layout = dict[str, tuple[np.dtype, tuple[int, ...]]]


def check_experience(columns: Columns, spec: ExperienceSpec) -> None:
    """Names, dtypes, shapes, finiteness and ends of episodes, as `protocol.messages.Experience` says.

    Raises:
        ProtocolError: names the column, the place in it and the value.
    """
    _check_layout(columns, spec)
    _check_finite(columns)
    _check_range("frames", columns["frames"], 1, spec.residual_every)
    for name, most in _COUNTERS.items():
        _check_range(name, columns[name], 0, most)
    [ends] = (columns["terminated"] | columns["truncated"]).nonzero()
    if columns["final_row"].tolist() != ends.tolist():
        raise ProtocolError(
            f"final_row is {columns['final_row'][:8].tolist()}, "
            f"but rows {ends[:8].tolist()} are terminated or truncated"
        )


def _check_layout(columns: Columns, spec: ExperienceSpec) -> None:
    rows, ends = (len(columns[name]) if _has_rows(columns, name) else 0 for name in ("frames", "final_row"))
    layout = _layout(
        rows,
        ends,
        spec.residual_every,
        spec.observation_dim,
        spec.action_dim,
        tuple((camera, tuple(size)) for camera, size in spec.cameras.items()),
    )
    if rows and {name: (array.dtype, array.shape) for name, array in columns.items()} == layout:
        return
    if columns.keys() != layout.keys():
        missing, foreign = sorted(layout.keys() - columns.keys()), sorted(columns.keys() - layout.keys())
        raise ProtocolError(f"columns missing: {missing or 'none'}, unknown: {foreign or 'none'}")
    if rows == 0:
        raise ProtocolError(f"frames has shape {columns['frames'].shape}: a batch has one row or more")
    for name, (dtype, shape) in layout.items():
        array = columns[name]
        if array.dtype != dtype or array.shape != shape:
            raise ProtocolError(f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}")


def _has_rows(columns: Columns, name: str) -> bool:
    return name in columns and columns[name].ndim > 0


@functools.lru_cache(maxsize=64)
def _layout(
    rows: int,
    ends: int,
    k: int,
    observation: int,
    action: int,
    cameras: tuple[tuple[str, tuple[int, ...]], ...],
) -> _Layout:
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "observation": ("f4", (rows, k, observation)),
        "action": ("f4", (rows, k, action)),
        "base_plan": ("f4", (rows, k, action)),
        "residual": ("f4", (rows, k, action)),
        "reward": ("f4", (rows, k)),
        "success": ("?", (rows, k)),
        "frames": ("i4", (rows,)),
        "terminated": ("?", (rows,)),
        "truncated": ("?", (rows,)),
        "sub_env": ("i4", (rows,)),
        "episode": ("i8", (rows,)),
        "decision": ("i4", (rows,)),
        "weights_version": ("i8", (rows,)),
        "final_row": ("i4", (ends,)),
        "final_observation": ("f4", (ends, observation)),
        "final_base_plan": ("f4", (ends, k, action)),
    }
    for camera, (height, width) in cameras:
        layout[f"image.{camera}"] = ("u1", (rows, k, height, width, 3))
        layout[f"final_image.{camera}"] = ("u1", (ends, height, width, 3))
    return {name: (np.dtype(dtype), shape) for name, (dtype, shape) in layout.items()}


def _check_finite(columns: Columns) -> None:
    # One NaN or infinity makes the sum of squares one, at a fraction of the cost of looking at each.
    suspects = [name for name in _FINITE if not math.isfinite(np.vdot(each := columns[name], each))]
    for name in suspects:
        finite = np.isfinite(columns[name])
        if not finite.all():
            place = tuple(np.argwhere(~finite)[0].tolist())
            raise ProtocolError(f"{name}{list(place)} is {columns[name][place]}")


def _check_range(name: str, array: np.ndarray, least: int, most: int) -> None:
    # Seen as unsigned, what is below `least` lies above all else: one look instead of two.
    above = array - least if least else array
    if above.view(_UNSIGNED[array.itemsize]).max() > most - least:
        wrong = np.flatnonzero((array < least) | (array > most))
        raise ProtocolError(f"{name}[{wrong[0]}] is {array[wrong[0]]}, allowed are {least} .. {most}")
