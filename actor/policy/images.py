"""Camera images beside the state observation, and the last ones of each sub-environment."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

Images = Mapping[str, Tensor]
"""Camera -> u1 (N, height, width, 3), of N sub-environments."""

NO_IMAGES: Images = MappingProxyType({})


class ImageHistory:
    """The last `frames` images of some cameras in each of N sub-environments, u1 (N, frames, H, W, 3).
    `cameras`: others are passed by; none costs nothing."""

    def __init__(self, cameras: tuple[str, ...], num_envs: int, frames: int, device: torch.device) -> None:
        self._cameras, self._num_envs, self._frames, self._device = cameras, num_envs, frames, device
        self._images: dict[str, Tensor] = {}

    def begin(self, rows: Tensor, images: Images) -> None:
        """Fill the histories of sub-environments `rows` with their newest images, (N, H, W, 3) each."""
        for camera in self._cameras:
            newest = images[camera]
            if camera not in self._images:
                shape = (self._num_envs, self._frames, *newest.shape[1:])
                self._images[camera] = torch.zeros(shape, dtype=torch.uint8, device=self._device)
            self._images[camera][rows] = newest.to(self._device)[rows][:, None]

    def observe(self, images: Images) -> None:
        """Append the newest images of all sub-environments."""
        self._images = {
            camera: torch.cat([self._images[camera][:, 1:], images[camera].to(self._device)[:, None]], dim=1)
            for camera in self._cameras
        }

    def of(self, rows: Tensor) -> dict[str, Tensor]:
        """Camera -> (R, frames, H, W, 3) of sub-environments `rows`."""
        return {camera: images[rows] for camera, images in self._images.items()}

    def ending_with(self, rows: Tensor, newest: Images) -> dict[str, Tensor]:
        """As `of`, one frame later, with `newest` (R, H, W, 3) of these sub-environments; leaves no trace."""
        return {
            camera: torch.cat([images[rows][:, 1:], newest[camera].to(self._device)[:, None]], dim=1)
            for camera, images in self._images.items()
        }
