"""What a residual's networks make of pictures: a small convolutional encoder."""

import torch
from torch import Tensor, nn

from actor.policy.images import ImageHistory, Images
from config.pictures import PicturesConfig


class PictureEncoder(nn.Module):
    """Pictures u1 (B, D, H, W) -> (B, width) in (-1, 1), D being `PicturesConfig.depth`.

    As the encoder of DrQ-v2 (Yarats et al. 2021, arXiv 2107.09645): convolutions, then a linear layer with
    layer norm and tanh. Here every convolution has stride 2, for the sake of processors.
    """

    def __init__(self, settings: PicturesConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        depth = settings.depth
        for channels in settings.channels:
            layers += [nn.Conv2d(depth, channels, 3, stride=2), nn.ReLU()]
            depth = channels
        width, height = settings.encoded_size
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.last = nn.Sequential(
            nn.Linear(depth * width * height, settings.width), nn.LayerNorm(settings.width), nn.Tanh()
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.last(self.layers(pictures.float() / 255 - 0.5)).float()


def stacked(images: Images, settings: PicturesConfig) -> Tensor:
    """Camera -> u1 (B, frames, H, W, 3) as one tensor u1 (B, D, H, W), cameras in the order of `settings`.

    Channels stay last in memory: nothing is moved for one camera, and convolutions are faster on it.
    """
    shown = [picture for camera in settings.cameras for picture in images[camera].unbind(1)]
    return (shown[0] if len(shown) == 1 else torch.cat(shown, dim=-1)).movedim(-1, 1)


class DecidedPictures:
    """The pictures that each of N sub-environments had at its newest decisions.

    Where an episode has had fewer decisions than `settings.frames`, its first pictures stand in for earlier
    ones.
    """

    def __init__(self, settings: PicturesConfig, num_envs: int, device: torch.device) -> None:
        self._settings = settings
        self._newest = ImageHistory(settings.cameras, num_envs, 1, device)
        width, height = settings.size
        shape = (num_envs, settings.frames, height, width, 3)
        self._decided = {
            camera: torch.zeros(shape, dtype=torch.uint8, device=device) for camera in settings.cameras
        }
        self._fresh = torch.ones(num_envs, dtype=torch.bool, device=device)

    def begin(self, rows: Tensor, images: Images) -> None:
        """Episodes begin in sub-environments `rows`; `images` (N, H, W, 3) have their first ones."""
        self._fresh[rows] = True
        self._newest.begin(rows, images)

    def observe(self, images: Images) -> None:
        """The newest images (N, H, W, 3)."""
        self._newest.observe(images)

    def decide(self, rows: Tensor) -> Tensor:
        """Sub-environments `rows` decide now: their pictures u1 (R, D, H, W)."""
        fresh = self._fresh[rows, None, None, None, None]
        shown = {
            camera: torch.cat([torch.where(fresh, newest, self._decided[camera][rows])[:, 1:], newest], dim=1)
            for camera, newest in self._newest.of(rows).items()
        }
        for camera, pictures in shown.items():
            self._decided[camera][rows] = pictures
        self._fresh[rows] = False
        return stacked(shown, self._settings)
