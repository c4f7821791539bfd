"""What a residual's networks make of pictures: a small convolutional encoder."""

import torch
from torch import Tensor, nn

from actor.policy.images import ImageHistory, Images, dtype_of
from config.pictures import PicturesConfig
from protocol.pictures import COLOURS, DISTANCES, depths_in, modality_of


class PictureEncoder(nn.Module):
    """Pictures (B, D, H, W) -> (B, width) in (-1, 1), as `stacked` lays them out, D being `channels_of`.

    As the encoder of DrQ-v2 (Yarats et al. 2021, arXiv 2107.09645): convolutions, then a linear layer with
    layer norm and tanh. Here every convolution has stride 2, for the sake of processors.

    Colours are scaled to [-0.5, 0.5], and so are distances within `depth_range`; what is nearer or farther
    counts as its end.
    """

    first: Tensor
    span: Tensor

    def __init__(self, settings: PicturesConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        depth = channels_of(settings)
        first, last = _ranges(settings)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("span", last - first, persistent=False)
        self._sees_depth = bool(depths_in(settings.cameras))
        for channels in settings.channels:
            layers += [nn.Conv2d(depth, channels, 3, stride=2), nn.ReLU()]
            depth = channels
        width, height = settings.encoded_size
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.last = nn.Sequential(
            nn.Linear(depth * width * height, settings.width), nn.LayerNorm(settings.width), nn.Tanh()
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.last(self.layers(self._scaled(pictures.float()) - 0.5)).float()

    def _scaled(self, pictures: Tensor) -> Tensor:
        """To [0, 1]."""
        if not self._sees_depth:
            return pictures / 255
        # Tensors have the bits of unsigned numbers as signed ones.
        return ((pictures % 2**16 - self.first) / self.span).clamp(0, 1)


def channels_of(settings: PicturesConfig) -> int:
    """Of all pictures of a decision, one behind the other."""
    return settings.frames * sum(modality_of(camera).channels for camera in settings.cameras)


def _ranges(settings: PicturesConfig) -> tuple[Tensor, Tensor]:
    """Of each channel (D, 1, 1), which number is scaled to 0 and which to 1."""
    near, far = (1000 * metres for metres in settings.depth_range)
    ends = {COLOURS: (0.0, 255.0), DISTANCES: (near, far)}
    kinds = [modality_of(camera) for camera in settings.cameras]
    each = [ends[kind] for kind in kinds for _ in range(settings.frames * kind.channels)]
    first, last = torch.tensor(each)[..., None, None].unbind(1)
    return first, last


def stacked(images: Images, settings: PicturesConfig) -> Tensor:
    """Camera -> (B, frames, H, W, C) as one tensor (B, D, H, W), cameras in the order of `settings`: u1, and
    where one of them is depth int16, see `tensor_of`.

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
        self._decided = {
            camera: torch.zeros(
                num_envs,
                settings.frames,
                *modality_of(camera).shape((height, width)),
                dtype=dtype_of(camera),
                device=device,
            )
            for camera in settings.cameras
        }
        self._fresh = torch.ones(num_envs, dtype=torch.bool, device=device)

    def begin(self, rows: Tensor, images: Images) -> None:
        """Episodes begin in sub-environments `rows`; `images` (N, H, W, C) have their first ones."""
        self._fresh[rows] = True
        self._newest.begin(rows, images)

    def observe(self, images: Images) -> None:
        """The newest images (N, H, W, C)."""
        self._newest.observe(images)

    def decide(self, rows: Tensor) -> Tensor:
        """Sub-environments `rows` decide now: their pictures (R, D, H, W), as `stacked` lays them out."""
        fresh = self._fresh[rows, None, None, None, None]
        shown = {
            camera: torch.cat([torch.where(fresh, newest, self._decided[camera][rows])[:, 1:], newest], dim=1)
            for camera, newest in self._newest.of(rows).items()
        }
        for camera, pictures in shown.items():
            self._decided[camera][rows] = pictures
        self._fresh[rows] = False
        return stacked(shown, self._settings)
