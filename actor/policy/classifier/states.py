"""A classifier on states: small networks whose probabilities are averaged."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from actor.policy.images import NO_IMAGES, Images
from actor.policy.relations import Relations
from config.relation import Relation


class StateClassifier(nn.Module):
    """Several networks, each trained without another part of the episodes: where one is fooled by a state
    that it never saw, the others seldom are.

    Observations are seen as the residual sees them, with `relations`, and with their lengths: whether a task
    is solved is often a question of distance. `scale_to` gives all of it zero mean and unit deviation.
    """

    mean: Tensor
    scale: Tensor
    threshold: float

    def __init__(
        self, observation_dim: int, relations: Sequence[Relation], hidden: Sequence[int], members: int
    ) -> None:
        super().__init__()
        self.related = Relations(relations, observation_dim)
        width = self.related.observation_dim + len(relations)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.members = nn.ModuleList(_network(width, hidden) for _ in range(members))
        self.threshold = 0.5

    def scale_to(self, observations: Tensor) -> None:
        """Take mean and deviation from observations (M, O)."""
        seen = self._described(observations)
        self.mean.copy_(seen.mean(0))
        deviation = seen.std(0)
        # What hardly varies, such as a joint that rests, must not become large elsewhere.
        self.scale.copy_(torch.where(deviation > 1e-3, 1 / deviation, torch.ones_like(deviation)))

    def seen(self, observation: Tensor) -> Tensor:
        """What the networks get of observations (N, O)."""
        return ((self._described(observation) - self.mean) * self.scale).clamp(-10, 10)

    def logits(self, member: int, seen: Tensor) -> Tensor:
        """(N,) of one network."""
        return self.members[member](seen)[:, 0]

    @torch.no_grad()
    def probability(self, observation: Tensor, images: Images = NO_IMAGES) -> Tensor:
        seen = self.seen(observation.to(self.mean.device))
        each = [torch.sigmoid(self.logits(member, seen)) for member in range(len(self.members))]
        return torch.stack(each).mean(0).to(observation.device)

    def _described(self, observation: Tensor) -> Tensor:
        return torch.cat([self.related(observation), self.related.distances(observation)], dim=1)


def _network(width: int, hidden: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.LayerNorm(size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))
