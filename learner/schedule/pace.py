"""How many updates are due for the data received, who must wait, and how actors behave meanwhile."""

from __future__ import annotations

from typing import Any

from config.algo import AlgoConfig
from learner.schedule.gate import SuccessGate
from protocol.arrays import Columns
from protocol.messages import Behaviour


class Pace:
    """Counts decisions and updates; knows no clock.

    `utd` updates are due for each decision after `learning_starts`, and the critic's warm-up at
    once when learning starts. A learner that is `max_behind` updates late stops taking data in, so
    that credit runs out and the actors wait.
    """

    def __init__(self, algo: AlgoConfig, max_behind: int) -> None:
        self._algo = algo
        self._max_behind = max_behind
        self.gate = SuccessGate(algo)
        self.decisions = 0
        self.updates = 0

    def resume(self, decisions: int) -> None:
        """Go on after `decisions` of an earlier process; none of them is owed an update."""
        self.decisions = decisions
        self.updates = 0
        self.updates = self.updates_due

    def count(self, actor_id: str, columns: Columns) -> None:
        """Count the decisions of one message of experience."""
        self.decisions += len(columns["frames"])
        self.gate.count(actor_id, columns)

    def state(self) -> dict[str, Any]:
        """For `load_state` of another process."""
        return {"updates": self.updates, "gate": self.gate.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned: decisions that came later are owed their updates."""
        self.updates = state["updates"]
        self.gate.load_state(state["gate"])

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
        """False while the learner is too far behind and actors must wait. The critic's warm-up is no debt
        for data: what data asked for beyond it is never more than `max_behind` updates late."""
        warmup_left = max(0, self._algo.critic_warmup_updates - self.updates)
        return self.updates_due - warmup_left <= self._max_behind

    @property
    def mask_probability(self) -> float:
        """Progressive exploration: min(decisions / H, 1) (Policy Decorator, section 4.2), or the share of
        episodes that the residual has earned."""
        if self._algo.mask_by == "success":
            return self.gate.share
        horizon = self._algo.mask_horizon
        return 1.0 if horizon == 0 else min(1.0, self.decisions / horizon)

    @property
    def reach(self) -> float:
        """Progressive scale: the share of residual_scale that residuals may use by now."""
        begun = max(0, self.decisions - self._algo.learning_starts)
        horizon = self._algo.scale_horizon
        grown = 1.0 if horizon == 0 else min(1.0, begun / horizon)
        return self._algo.scale_from + (1 - self._algo.scale_from) * grown

    @property
    def pessimism(self) -> float | None:
        """What the members' disagreement costs by now: the more, the less the residual was proved right."""
        least = self._algo.actor_pessimism
        return None if least is None else least / self.gate.confidence

    def behaviour(self) -> Behaviour:
        """How actors act from now on."""
        return Behaviour(
            mask_probability=self.mask_probability,
            mask_episodes=self._algo.mask_by == "success",
            uniform=self._algo.uniform_until_learning and not self.learning,
            noise_std=self._algo.noise_std * self.gate.confidence,
            noise_ladder=self._algo.noise_ladder,
            noise_probability=self._algo.noise_probability,
            noise_hold=self._algo.noise_hold,
            decisions=self.decisions,
        )
