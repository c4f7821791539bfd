"""Columns that a ring keeps besides those of every update: images, and optional columns of the experience."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import tensor_of
from protocol.arrays import DTYPES, Columns
from protocol.experience import ExperienceSpec, columns_of
from protocol.pictures import modality_of

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Name -> shape and dtype of one row's value."""


def image_shapes(cameras: Mapping[str, tuple[int, int]]) -> Shapes:
    """Of the images of each camera, given its height and width."""
    kinds = {camera: modality_of(camera) for camera in cameras}
    return {name: (kind.shape(cameras[name]), DTYPES[kind.dtype]) for name, kind in kinds.items()}


def optional_shapes(spec: ExperienceSpec) -> Shapes:
    """Of the optional columns of a run."""
    sizes = {**spec.sizes, "D": 1}
    return {
        column.name: (column.shape(sizes)[1:], DTYPES[column.dtype])
        for column in columns_of(spec)
        if column.optional
    }


class SeenTransitions(NamedTuple):
    """Camera -> (B, H, W, C), see `actor.policy.images`, on the ring's device, where B transitions begin and
    where they end."""

    images: dict[str, Tensor]
    next_images: dict[str, Tensor]


class StoredColumns:
    """Name -> (capacity, ...); row `position` is in slot `position % capacity`."""

    def __init__(self, capacity: int, shapes: Shapes, device: str | torch.device) -> None:
        self._capacity = capacity
        self._rows = {
            name: tensor_of(np.zeros((capacity, *shape), dtype)).to(device)
            for name, (shape, dtype) in shapes.items()
        }

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    @property
    def nbytes(self) -> int:
        """All of them allocated at the start."""
        return sum(rows.numel() * rows.element_size() for rows in self._rows.values())

    def put(self, positions: NDArray[np.int64], values: Columns, oldest: int) -> None:
        """Write the values (M, ...) of rows at `positions`, unless they are below `oldest`."""
        kept = positions >= oldest
        slots = torch.as_tensor(positions[kept] % self._capacity)
        for name, rows in self._rows.items():
            rows[slots.to(rows.device)] = tensor_of(values[name][kept]).to(rows.device)

    def at(self, slots: NDArray[np.int64]) -> dict[str, Tensor]:
        """Name -> (B, ...)."""
        return {
            name: rows.index_select(0, torch.as_tensor(slots).to(rows.device))
            for name, rows in self._rows.items()
        }
