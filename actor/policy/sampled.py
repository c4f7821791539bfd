"""Decisions drawn from the policy that is being learned, as PPO and GRPO need them."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actor.policy.decorated import Chosen, DecoratedPolicy
from actor.policy.gaussian import GaussianResidual
from actor.policy.noise import Use, normal
from actor.policy.tiles import in_tiles


class SampledPolicy(DecoratedPolicy):
    """Draws every decision, whatever behaviour comes with the weights, and says how probable it was."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._log_prob = self._zeros()

    def act(self) -> Chosen:
        chosen = super().act()
        return replace(chosen, optional={**chosen.optional, "log_prob": self._log_prob.clone()})

    def act_in(self, acting: Tensor) -> Chosen:
        """As `DecoratedPolicy.act_in`; no frame passes where it does not act."""
        chosen = super().act_in(acting)
        self._episodes.rest((~acting).nonzero()[:, 0])
        return chosen

    def _choose(self, rows: Tensor, observation: Tensor, base_plan: Tensor) -> Tensor:
        residual = self._residual
        assert isinstance(residual, GaussianResidual)
        drawn = normal(self._episodes.keys(rows, Use.SAMPLED_RESIDUAL), residual.outputs)
        noise = torch.from_numpy(drawn).to(self._device)

        def sampled(observation: Tensor, base_plan: Tensor, noise: Tensor) -> Tensor:
            found = residual.sample(residual.sight(observation), base_plan, noise=noise)
            return torch.cat([found.residual, found.log_prob[:, None]], 1)

        found = in_tiles(sampled, observation, base_plan, noise)
        self._log_prob[rows] = found[:, -1]
        return found[:, :-1]
