"""What the networks of a residual see of a batch: actor and critics perhaps different parts of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from actor.policy.residual import ResidualActor
from actor.policy.sight import Sight, Sizes
from config.algo import AlgoConfig
from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.eyes import Looks
from learner.algorithms.observation_scale import ObservationScale
from learner.ranks.ranks import Batch, Ranks

_OBSERVATIONS = ("observation", "next_observation")


class Sights:
    """Of an actor and its critics.

    Args:
        sizes: of rows, which batches have as observations.
        randn: draws noise of this shape, the same in all `ranks`.
    """

    def __init__(
        self,
        algo: AlgoConfig,
        actor: ResidualActor,
        sizes: Sizes,
        ranks: Ranks,
        randn: Callable[..., Tensor],
    ) -> None:
        self._pictures = sizes.pictures
        self._noise, self._ranks, self._randn = algo.observation_noise, ranks, randn
        self._alike = algo.sees == algo.critics_see
        self.actor = self.critics = actor.sight
        if not self._alike:
            self.critics = Sight(algo.critics_see, algo, sizes).to(actor.observation_mean.device)

    def scale(self, rows: Tensor, actor: ResidualActor, critics: Sequence[CriticEnsemble]) -> None:
        """Scale what the networks see to zero mean and unit deviation of rows (M, O + E). What an encoder
        makes of pictures is not scaled."""
        for sight, networks in ((self.actor, (actor,)), (self.critics, critics)):
            known = torch.cat([rows, rows.new_zeros(len(rows), self._pictures)], dim=1)
            mean, scale = map(torch.from_numpy, ObservationScale.of(sight(known).cpu().numpy()))
            for network in networks:
                network.observation_mean.copy_(mean)
                network.observation_scale.copy_(scale)

    def seen(
        self, batch: Batch, actor: ResidualActor, critic: CriticEnsemble, looks: Looks | None = None
    ) -> Batch:
        """The batch with observations as the critics see them, and, if that is something else, beside them as
        the actor sees them. `looks`: what encoders make of its pictures."""
        # In one: on so few rows an operator costs more than its arithmetic.
        rows = torch.cat([batch[name] for name in _OBSERVATIONS])
        if looks is not None:
            rows = torch.cat([rows, torch.cat(looks)], dim=1)
        both = self._blurred(self.critics(rows), critic.observation_scale)
        seen = dict(zip(_OBSERVATIONS, both.chunk(2), strict=True))
        if looks is not None:
            # Gradients go to the encoder from the transitions' beginnings alone.
            seen["next_observation"] = seen["next_observation"].detach()
        if not self._alike:
            both = self._blurred(self.actor(rows.detach()), actor.observation_scale)
            seen |= dict(zip(map(_of_actor, _OBSERVATIONS), both.chunk(2), strict=True))
        return batch | seen

    def of_actor(self, batch: Batch, name: str) -> Tensor:
        """What the actor sees, in a batch that `seen` returned, of the observation of this name."""
        return batch[name if self._alike else _of_actor(name)]

    def _blurred(self, observation: Tensor, scale: Tensor) -> Tensor:
        """With Gaussian noise, as wide in each number as its scale says.

        What is true a little beside a state too is learned from fewer states, and a state that is drawn
        many times is not learned by heart (Laskin et al. 2020, arXiv 2004.14990, for state observations).
        """
        if self._noise == 0:
            return observation
        # Of both, the observation and the next one, this rank's rows.
        noise = self._randn(2, len(observation) // 2 * self._ranks.size, observation.shape[1])
        return observation + self._noise / scale * self._ranks.own(noise, dim=1).reshape(observation.shape)


def _of_actor(name: str) -> str:
    return f"actor_{name}"
