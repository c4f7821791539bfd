"""Camera images beside the state observation, and the last ones of each sub-environment."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protocol.pictures import modality_of

Images = Mapping[str, Tensor]
"""Camera -> u1 (N, height, width, 3) of N sub-environments; depth (N, height, width, 1), see `tensor_of`."""

NO_IMAGES: Images = MappingProxyType({})


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The same memory. Of u2 it has the bits as int16: torch does little with unsigned ones."""
    return torch.from_numpy(array.view(np.int16) if array.dtype == np.uint16 else array)


def dtype_of(camera: str) -> torch.dtype:
    """Of a tensor of its pictures."""
    return tensor_of(np.empty(0, modality_of(camera).dtype)).dtype


class ImageHistory:
    """The last `frames` images of some cameras in each of N sub-environments, (N, frames, H, W, C).
    `cameras`: others are passed by; none costs nothing."""

    def __init__(self, cameras: tuple[str, ...], num_envs: int, frames: int, device: torch.device) -> None:
        self._cameras, self._num_envs, self._frames, self._device = cameras, num_envs, frames, device
        self._images: dict[str, Tensor] = {}

    def begin(self, rows: Tensor, images: Images) -> None:
        """Fill the histories of sub-environments `rows` with their newest images, (N, H, W, C) each."""
        for camera in self._cameras:
            newest = images[camera]
            if camera not in self._images:
                shape = (self._num_envs, self._frames, *newest.shape[1:])
                self._images[camera] = torch.zeros(shape, dtype=newest.dtype, device=self._device)
            self._images[camera][rows] = newest.to(self._device)[rows][:, None]

    def observe(self, images: Images) -> None:
        """Append the newest images of all sub-environments."""
        self._images = {
            camera: torch.cat([self._images[camera][:, 1:], images[camera].to(self._device)[:, None]], dim=1)
            for camera in self._cameras
        }

    def of(self, rows: Tensor) -> dict[str, Tensor]:
        """Camera -> (R, frames, H, W, C) of sub-environments `rows`."""
        return {camera: images[rows] for camera, images in self._images.items()}

    def ending_with(self, rows: Tensor, newest: Images) -> dict[str, Tensor]:
        """As `of`, one frame later, with `newest` (R, H, W, C) of these sub-environments; leaves no trace."""
        return {
            camera: torch.cat([images[rows][:, 1:], newest[camera].to(self._device)[:, None]], dim=1)
            for camera, images in self._images.items()
        }
