"""The residual's network, as it acts: observation and base actions -> best residual in [-1, 1]."""

from typing import Any

import torch
from torch import Tensor, nn

from .configuration_residual_rl import ResidualRlConfig
from .copied.tiles import in_tiles

STEP = 0.002  # metres: the scale of relations
AXIS_LENGTH = 0.1  # metres: an axis is seen as the place this far ahead
_POSE = 7


class Residual(nn.Module):
    """Names and shapes of its weights are those of residual-rl's checkpoints."""

    observation_mean: Tensor
    observation_scale: Tensor
    places: Tensor

    def __init__(self, config: ResidualRlConfig) -> None:
        super().__init__()
        self.sight = Sight(config)
        actions, observation_dim = config.action_dim, self.sight.dim
        chosen = list(range(actions)) if config.residual_dims is None else config.residual_dims
        outputs = len(chosen) * (1 if config.residual_shape == "constant" else config.residual_every)
        places = [chosen.index(dim) if dim in chosen else len(chosen) for dim in range(actions)]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self._chosen, self._frames, self._outputs = len(chosen), config.residual_every, outputs
        self._sees_base = config.actor_input == "obs_base_action"
        self.register_buffer("observation_mean", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        width = observation_dim + (config.residual_every * actions if self._sees_base else 0)
        layers: list[nn.Module] = []
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(width, outputs * (2 if config.head == "gaussian" else 1))

    def forward(self, observation: Tensor, base_plan: Tensor) -> Tensor:
        """Residuals (B, residual_every, A) for newest observations (B, O) and base actions of that shape."""
        best = in_tiles(self._best, observation, base_plan.flatten(1))
        return best.view(len(best), self._frames, -1)

    def _best(self, observation: Tensor, base_plan: Tensor) -> Tensor:
        x = (self.sight(observation) - self.observation_mean) * self.observation_scale
        out = self.head(self.trunk(torch.cat([x, base_plan], dim=-1) if self._sees_base else x))
        return self._spread(torch.tanh(out[:, : self._outputs]))

    def _spread(self, residual: Tensor) -> Tensor:
        rows, actions = len(residual), len(self.places)
        full = nn.functional.pad(residual.view(rows, -1, self._chosen), (0, 1))[..., self.places]
        return full.expand(rows, self._frames, actions).reshape(rows, -1)


class Sight(nn.Module):
    """Observation (B, O) -> what the residual sees of it (B, dim)."""

    def __init__(self, config: ResidualRlConfig) -> None:
        super().__init__()
        if unknown := set(config.sees) - {"state", "proprioception"}:
            raise ValueError(f"config.json: sees={sorted(unknown)}: install a newer {__package__}")
        self._words = config.sees
        self._related = Relations(config.relations, config.observation_dim)
        self._places = [dim for first, end in config.proprioception for dim in range(first, end)]
        widths = {"state": self._related.observation_dim, "proprioception": len(self._places)}
        self.dim = sum(widths[word] for word in self._words)

    def forward(self, observation: Tensor) -> Tensor:
        seen = {"state": self._related(observation), "proprioception": observation[:, self._places]}
        return torch.cat([seen[word] for word in self._words], dim=1)


class Relations(nn.Module):
    """Observation (B, O) -> (B, O + 3 R): appends asinh(metres / STEP) of each of R relations."""

    def __init__(self, relations: list[dict[str, Any]], observation_dim: int) -> None:
        super().__init__()
        self._relations = relations
        self.observation_dim = observation_dim + 3 * len(relations)

    def forward(self, observation: Tensor) -> Tensor:
        metres = [self._metres(observation, relation) for relation in self._relations]
        return torch.cat([observation, *(torch.asinh(apart / STEP) for apart in metres)], dim=1)

    def _metres(self, observation: Tensor, relation: dict[str, Any]) -> Tensor:
        """(B, 3): the point, seen from the origin, or where its axis points."""
        point, origin = (observation[:, start : start + _POSE] for start in _starts(relation))
        apart = point[:, :3] - origin[:, :3]
        if relation["tip"] == "axis":
            apart = AXIS_LENGTH * _first_axis(point[:, 3:])
        elif relation["tip"] is not None:
            apart = apart + observation[:, relation["tip"], None] * _first_axis(point[:, 3:])
        return _turn_back(origin[:, 3:], apart) if relation["turned"] else apart


def _starts(relation: dict[str, Any]) -> tuple[int, int]:
    return relation["point"], relation["origin"]


def _first_axis(quaternion: Tensor) -> Tensor:
    """(B, 3): where unit quaternions (B, 4), real part first, turn the x axis to."""
    w, x, y, z = quaternion.unbind(-1)
    return torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=-1)


def _turn_back(quaternion: Tensor, vector: Tensor) -> Tensor:
    """`vector` (B, 3) in the axes of unit quaternions (B, 4)."""
    real, imaginary = quaternion[:, :1], -quaternion[:, 1:]
    twice = 2 * torch.linalg.cross(imaginary, vector)
    return vector + real * twice + torch.linalg.cross(imaginary, twice)
