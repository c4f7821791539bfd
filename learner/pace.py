"""How many updates are due for the data received, who must wait, and how actors behave meanwhile."""

from __future__ import annotations

from config.schema import Algo
from protocol.messages import Behaviour


class Pace:
    """Counts decisions and updates; knows no clock.

    `utd` updates are due for each decision after `learning_starts`, and the critic's warm-up at
    once when learning starts. A learner that is `max_behind` updates late stops taking data in, so
    that credit runs out and the actors wait.
    """

    def __init__(self, algo: Algo, max_behind: int) -> None:
        self._algo = algo
        self._max_behind = max_behind
        self.decisions = 0
        self.updates = 0

    def take_up(self, decisions: int) -> None:
        """Go on after `decisions` of an earlier process; none of them is owed an update."""
        self.decisions = decisions
        self.updates = 0
        self.updates = self.updates_due

    @property
    def learning(self) -> bool:
        return self.decisions >= self._algo.learning_starts

    @property
    def updates_due(self) -> int:
        """Updates to run before the data in hand is paid for."""
        if not self.learning:
            return 0
        paid_by_data = int((self.decisions - self._algo.learning_starts) * self._algo.utd)
        return max(0, self._algo.critic_warmup_updates + paid_by_data - self.updates)

    @property
    def takes_data(self) -> bool:
        """False while the learner is too far behind and actors must wait."""
        return self.updates_due <= self._max_behind + self._algo.critic_warmup_updates

    @property
    def mask_probability(self) -> float:
        """Progressive exploration: min(decisions / H, 1) (Policy Decorator, section 4.2)."""
        horizon = self._algo.mask_horizon
        return 1.0 if horizon == 0 else min(1.0, self.decisions / horizon)

    def behaviour(self) -> Behaviour:
        """How actors act from now on."""
        return Behaviour(
            mask_probability=self.mask_probability,
            uniform=self._algo.uniform_until_learning and not self.learning,
            noise_std=self._algo.noise_std,
            noise_ladder=self._algo.noise_ladder,
            noise_probability=self._algo.noise_probability,
            noise_hold=self._algo.noise_hold,
            decisions=self.decisions,
        )
