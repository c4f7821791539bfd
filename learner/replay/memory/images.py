"""Images of a ring's rows: each stored once, as the bytes that the camera gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.replay.memory.rows import Slots
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX
from protocol.messages import Columns

Pictures = Mapping[str, NDArray[np.uint8]]
"""Camera -> u1 (M, H, W, 3)."""


class SeenTransitions(NamedTuple):
    """Camera -> u1 (B, H, W, 3), on the ring's device, where B transitions begin and where they end."""

    images: dict[str, Tensor]
    next_images: dict[str, Tensor]


class RingImages:
    """u1 (capacity, H, W, 3) of each camera; row `position` lies in slot `position % capacity`.

    Args:
        cameras: height and width of each.
    """

    def __init__(
        self, capacity: int, cameras: Mapping[str, tuple[int, int]], device: str | torch.device
    ) -> None:
        self._capacity = capacity
        self._rows = {
            camera: torch.zeros((capacity, *size, 3), dtype=torch.uint8, device=device)
            for camera, size in cameras.items()
        }

    @property
    def nbytes(self) -> int:
        """All of them allocated at the start."""
        return sum(rows.numel() for rows in self._rows.values())

    def add(self, columns: Columns, decisions: Slots, finals: Slots, oldest: int) -> None:
        """Write the images of one message's decisions and final observations.

        Args:
            decisions, finals: their positions.
            oldest: rows at positions below were overwritten.
        """
        for camera in self._rows:
            self._write(camera, decisions, columns[IMAGE_PREFIX + camera][:, 0], oldest)
            self._write(camera, finals, columns[FINAL_IMAGE_PREFIX + camera], oldest)

    def restore(self, positions: Slots, pictures: Pictures, oldest: int) -> None:
        """Put images back where they were."""
        for camera in self._rows:
            self._write(camera, positions, pictures[camera], oldest)

    def at(self, slots: Slots) -> dict[str, Tensor]:
        """Camera -> u1 (B, H, W, 3)."""
        return {
            camera: rows.index_select(0, torch.as_tensor(slots).to(rows.device))
            for camera, rows in self._rows.items()
        }

    def _write(self, camera: str, positions: Slots, images: NDArray[np.uint8], oldest: int) -> None:
        rows, kept = self._rows[camera], positions >= oldest
        slots = torch.as_tensor(positions[kept] % self._capacity)
        rows[slots.to(rows.device)] = torch.as_tensor(images[kept]).to(rows.device)
