"""Relative positions, on a scale on which a millimetre counts next to a decimetre."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from config.relation import AXIS, Relation
from config.section import ConfigError

STEP = 0.002  # metres: up to about this far, networks see distances as they are, beyond it their logarithm
AXIS_LENGTH = 0.1  # metres: an axis is seen as the place this far ahead, so that 1 degree is 2 mm
_POSE = 7  # x, y, z and a unit quaternion, real part first, as ManiSkill's observations have them


class Relations(nn.Module):
    """Observation (B, O) -> (B, O + 3 R): appends asinh(x / STEP), y and z alike, of each of R relations.

    From two poses alone a network has to learn their difference, to the millimetre in values of half a metre
    and rotated into the axes of one of them. It does not within the data of a short run.
    asinh is x / STEP for small x and sign(x) log(2 |x| / STEP) for large, a smooth relative of the symlog of
    Hafner et al. 2023 (arXiv 2301.04104).

    Raises ConfigError: a relation reads beyond the observation."""

    places: Tensor
    tips: Tensor
    tipped: Tensor
    axes: Tensor
    turned: Tensor

    def __init__(self, relations: Sequence[Relation], observation_dim: int) -> None:
        super().__init__()
        for relation in relations:
            if relation.last >= observation_dim:
                raise ConfigError(
                    f"algo.relations: {relation.text} reads index {relation.last}, the observation's "
                    f"dimension is {observation_dim}"
                )
        self.observation_dim = observation_dim + 3 * len(relations)
        lengths = [relation.tip if isinstance(relation.tip, int) else None for relation in relations]
        axes = [relation.tip == AXIS for relation in relations]
        self._some_tipped, self._some_axes = any(tip is not None for tip in lengths), any(axes)
        self._some_turned = any(relation.turned for relation in relations)
        # A relation without quaternion or tip reads other values in their place, which are then not used.
        last = observation_dim - 1
        poses = [
            [[min(start + i, last) for i in range(_POSE)] for start in (relation.point, relation.origin)]
            for relation in relations
        ]
        buffers = {
            "places": torch.tensor(poses, dtype=torch.int64).view(-1, 2, _POSE),
            "tips": torch.tensor([tip or 0 for tip in lengths], dtype=torch.int64),
            "tipped": torch.tensor([tip is not None for tip in lengths], dtype=torch.bool),
            "axes": torch.tensor(axes, dtype=torch.bool),
            "turned": torch.tensor([relation.turned for relation in relations], dtype=torch.bool),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """The observation with its relations."""
        if len(self.places) == 0:
            return observation
        metres = self.metres(observation).flatten(1)
        return torch.cat([observation, torch.asinh(metres / STEP)], dim=1)

    def distances(self, observation: Tensor) -> Tensor:
        """(B, R): asinh(d / STEP) of each relation's length d."""
        return torch.asinh(self.metres(observation).norm(dim=-1) / STEP)

    def metres(self, observation: Tensor) -> Tensor:
        """(B, R, 3): each relation's point, seen from its origin; of an axis the place `AXIS_LENGTH` ahead of
        the point, seen from the point itself."""
        point, origin = observation[:, self.places].unbind(2)
        apart = point[..., :3] - origin[..., :3]
        if self._some_tipped:
            ahead = observation[:, self.tips].unsqueeze(-1) * _first_axis(point[..., 3:])
            apart = apart + ahead.where(self.tipped[:, None], 0)
        if self._some_axes:
            apart = (AXIS_LENGTH * _first_axis(point[..., 3:])).where(self.axes[:, None], apart)
        if self._some_turned:
            apart = _turn_back(origin[..., 3:], apart).where(self.turned[:, None], apart)
        return apart


def _first_axis(quaternion: Tensor) -> Tensor:
    """(..., 3): where unit quaternions (..., 4) turn the x axis to."""
    w, x, y, z = quaternion.unbind(-1)
    return torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=-1)


def _turn_back(quaternion: Tensor, vector: Tensor) -> Tensor:
    """`vector` (..., 3) in the axes of unit quaternions (..., 4): q* v q."""
    real, imaginary = quaternion[..., :1], -quaternion[..., 1:]
    twice = 2 * torch.linalg.cross(imaginary, vector)
    return vector + real * twice + torch.linalg.cross(imaginary, twice)
