"""What a network of a residual sees of a decision."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from actor.policy.relations import Relations
from config.residual import ResidualConfig
from config.section import ConfigError


class Sizes(NamedTuple):
    """Dimensions of what there is to see. Side by side it is a row."""

    observation: int
    features: int
    """Of the base; 0: nobody asks for them."""
    pictures: int = 0
    """What the encoder makes of pictures; 0: there is none."""


class Sight(nn.Module):
    """Rows (B, O + E + P) -> what is seen of them (B, dim), the parts in the order of their words.
    Raises ConfigError: a part reads beyond the observation, or there are no features."""

    def __init__(self, words: Sequence[str], algo: ResidualConfig, sizes: Sizes) -> None:
        super().__init__()
        parts = [_PARTS[word](algo, sizes) for word in words]
        self._parts, self.dim = nn.ModuleList(parts), sum(part.dim for part in parts)

    def forward(self, row: Tensor) -> Tensor:
        seen = [part(row) for part in self._parts]
        return seen[0] if len(seen) == 1 else torch.cat(seen, dim=1)


class _State(nn.Module):
    """The whole observation, with its relations."""

    def __init__(self, algo: ResidualConfig, sizes: Sizes) -> None:
        super().__init__()
        self._width, self._related = sizes.observation, Relations(algo.relations, sizes.observation)
        self.dim = self._related.observation_dim

    def forward(self, row: Tensor) -> Tensor:
        return self._related(row[:, : self._width])


class _Proprioception(nn.Module):
    """The robot's own part of the observation."""

    places: Tensor

    def __init__(self, algo: ResidualConfig, sizes: Sizes) -> None:
        super().__init__()
        for first, end in algo.proprioception:
            if end > sizes.observation:
                raise ConfigError(
                    f"algo.proprioception (task.proprioception) has [{first}, {end}), the observation's "
                    f"dimension is {sizes.observation}"
                )
        places = [dim for first, end in algo.proprioception for dim in range(first, end)]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.dim = len(places)

    def forward(self, row: Tensor) -> Tensor:
        return row.index_select(1, self.places)


class _Features(nn.Module):
    """The base's own embedding."""

    def __init__(self, algo: ResidualConfig, sizes: Sizes) -> None:
        super().__init__()
        if not sizes.features:
            raise ConfigError("algo.sees names features, and this base has none")
        self._first, self.dim = sizes.observation, sizes.features

    def forward(self, row: Tensor) -> Tensor:
        return row[:, self._first : self._first + self.dim]


class _Pictures(nn.Module):
    """What the encoder makes of pictures."""

    def __init__(self, algo: ResidualConfig, sizes: Sizes) -> None:
        super().__init__()
        self._first, self.dim = sizes.observation + sizes.features, sizes.pictures

    def forward(self, row: Tensor) -> Tensor:
        return row[:, self._first :]


_PARTS: dict[str, type[_State] | type[_Proprioception] | type[_Features] | type[_Pictures]] = {
    "state": _State,
    "proprioception": _Proprioception,
    "features": _Features,
    "pictures": _Pictures,
}
