"""A base whose plans start from noise that a network chooses, in place of a residual on them."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.decorated import DecoratedPolicy, EvaluatedPolicy
from actor.policy.noise import Keys, Use
from config.algorithm import AlgorithmConfig


@runtime_checkable
class SteerableBase(BasePolicy, Protocol):
    """A base that makes its plans of noise."""

    def initial_noise(self, keys: Keys) -> Tensor:
        """Where the actions of `plan` with these keys start, before they are denoised:
        (B, act_horizon, action_dim), of mean 0 and deviation 1."""
        ...

    def plan_from(self, history: Tensor, keys: Keys, noise: Tensor) -> Tensor:
        """As `plan`, with `noise` (B, act_horizon, action_dim) in place of `initial_noise(keys)`."""
        ...


def require_steerable(base: BasePolicy, path: str) -> SteerableBase:
    """Raise CheckpointError unless noise can be chosen for the base."""
    if isinstance(base, SteerableBase):
        return base
    raise CheckpointError(f"base {path} takes no initial noise: choose base=diffusion with pad_obs_to=null")


class SteeredPolicy(DecoratedPolicy):
    """The base's plan from chosen noise (DSRL, arXiv 2506.15799, section 4); nothing is added to it.

    The network chooses before the base plans. What it chooses is a row's `residual`, and times
    `residual_scale` the initial noise of the actions that are executed; that of the frames around them stays
    the base's own. Where the network is masked all noise is the base's own, and a row has that noise.
    """

    def _plan_for(self, rows: Tensor) -> None:
        base, keys = self._bases[self.base_version], self._episodes.keys(rows, Use.BASE)
        base = require_steerable(base, "of this run")
        own = base.initial_noise(keys).to(self._device)
        chosen = self._choose(rows, self._row(rows), torch.zeros_like(own).flatten(1)).view_as(own)
        noise = own.where(~self._acts(rows)[:, None, None], self._scale * chosen)
        self._plan[rows] = base.plan_from(self._history[rows], keys, noise).to(self._device)
        self._decided_residual[rows] = noise / self._scale
        self.base_calls += len(rows)

    def _decide(self, rows: Tensor) -> None:
        """The plan and the noise that it was made of; a decision is a whole plan."""
        self._decided_plan[rows] = self._plan[rows]
        self._decided_version[rows] = self.weights_version
        self._decided_base[rows] = self._base_of[rows]

    def _executed(self, base_action: Tensor, residual: Tensor) -> Tensor:
        return base_action

    def _acts(self, rows: Tensor) -> Tensor:
        """(R,) bool: the network chooses; else the base's own noise counts."""
        if self._exploration is None:
            return torch.zeros(len(rows), dtype=torch.bool, device=self._device)
        return self._exploration.acts(rows, self.behaviour)


class EvaluatedSteeredPolicy(SteeredPolicy, EvaluatedPolicy):
    """Every plan from the best noise: no mask, whatever behaviour comes with the weights."""

    def _acts(self, rows: Tensor) -> Tensor:
        return torch.full((len(rows),), self._residual is not None, device=self._device)


def evaluated_kind(algo: AlgorithmConfig) -> type[EvaluatedPolicy]:
    """Of the policy that an evaluation plays with the weights that `algo` publishes."""
    steers = algo.plays is not None and algo.plays.steers
    return EvaluatedSteeredPolicy if steers else EvaluatedPolicy
