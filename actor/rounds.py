"""Rollouts that play a round with the newest weights, and then wait for newer ones.

Nothing is simulated that the learner could not use: it learns from the newest weights' decisions alone.
"""

import torch

from actor.policy.decorated import DecoratedPolicy
from actor.rollout import Rollout
from actor.rollout_around import RolloutAround


class DecisionRounds(RolloutAround):
    """As `rollout`. A round is `Behaviour.round` decisions of each sub-environment, on average; newer weights
    begin the next one at once.

    Args:
        policy: the rollout's.
        lag: rounds that may be played beyond the first with the same weights.
    """

    def __init__(self, rollout: Rollout, policy: DecoratedPolicy, lag: int) -> None:
        super().__init__(rollout)
        self._policy, self._most = policy, 1 + lag
        self._version, self._left = 0, 0

    @property
    def waits(self) -> bool:
        return self._left <= 0 and self._version == self._policy.weights_version

    def go_on(self) -> None:
        """Play another round with the same weights."""
        self._left = self._round

    def step(self) -> None:
        self._grant()
        before = self._rollout.rows
        self._rollout.step()
        self._left -= self._rollout.rows - before

    def _grant(self) -> None:
        """Add the rounds that newer weights allow. The first weights that an actor has allow `lag` more."""
        newest = self._policy.weights_version
        newer = newest - self._version if self._version else self._most
        if newest != self._version:
            self._left = min(max(0, self._left) + newer * self._round, self._most * self._round)
            self._version = newest

    @property
    def _round(self) -> int:
        return self._policy.behaviour.round * self.sub_envs


class EpisodeRounds(DecisionRounds):
    """A round is `Behaviour.round` whole episodes of every sub-environment, with the same weights; one that
    has played them rests until all have."""

    def __init__(self, rollout: Rollout, policy: DecoratedPolicy, lag: int) -> None:
        super().__init__(rollout, policy, lag)
        self._episodes_left = torch.zeros(rollout.sub_envs, dtype=torch.int64)

    @property
    def takes_weights(self) -> bool:
        """Whether no round is under way."""
        return not self._episodes_left.any()

    @property
    def waits(self) -> bool:
        return self.takes_weights and super().waits

    def step(self) -> None:
        """One frame in every sub-environment that has not played its episodes."""
        self._grant()
        if self.takes_weights:
            self._left -= 1
            self._episodes_left[:] = self._policy.behaviour.round
        acting = self._episodes_left > 0
        step = self._rollout.step_in(None if acting.all() else acting)
        self._episodes_left -= step.ended.long().cpu()

    @property
    def _round(self) -> int:
        return 1
