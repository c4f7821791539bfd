"""How many updates are due for the data received, who must wait, and how actors act meanwhile."""

from collections.abc import Callable
from typing import Any

from config.algo import AlgoConfig
from learner.schedule.counted import Counted
from learner.schedule.gate import SuccessGate
from protocol.arrays import Columns
from protocol.messages import Behaviour


class Pace(Counted):
    """Counts decisions and updates; knows no clock.

    `utd` updates are due for each decision after `learning_starts`, and the critics' warm-up at
    once when learning starts. A learner that is `max_behind` updates late receives no data, so
    that credit runs out and the actors wait. After `total_frames` no more data is wanted.

    `lost`: decisions of an earlier process that are in no batch any more. Learning starts anew after them.
    """

    def __init__(
        self, algo: AlgoConfig, max_behind: int, total_frames: int, lost: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(total_frames)
        self._algo, self._max_behind, self._lost = algo, max_behind, lost
        self.gate = SuccessGate(algo)

    def resume(self, decisions: int, frames: int) -> None:
        super().resume(decisions, frames)
        self.updates = self._due if decisions >= self._algo.learning_starts else 0

    def count(self, actor_id: str, columns: Columns) -> None:
        super().count(actor_id, columns)
        self.gate.count(actor_id, columns)

    def state(self) -> dict[str, Any]:
        return super().state() | {"gate": self.gate.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.gate.load_state(state["gate"])

    @property
    def learning(self) -> bool:
        return self._known >= self._algo.learning_starts

    @property
    def _known(self) -> int:
        return self.decisions - self._lost()

    @property
    def updates_due(self) -> int:
        """Updates that the received data asks for and that were not made yet."""
        return self._due if self.learning else 0

    @property
    def _due(self) -> int:
        for_data = int((self.decisions - self._algo.learning_starts) * self._algo.utd)
        return max(0, self._algo.critic_warmup_updates + for_data - self.updates)

    @property
    def takes_data(self) -> bool:
        """False while more than `max_behind` updates are late, those of the critics' warm-up not counted."""
        warmup_left = max(0, self._algo.critic_warmup_updates - self.updates)
        return self.updates_due - warmup_left <= self._max_behind

    @property
    def waiting_for(self) -> str:
        """What the learner waits for, in words; empty: for nothing."""
        if not self.learning:
            return f"{self._known} of {self._algo.learning_starts} decisions before learning starts"
        return "" if self.takes_data else "updates (actors wait)"

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl."""
        return {"mask_probability": self.mask_probability}

    @property
    def mask_probability(self) -> float:
        """Progressive exploration: min(decisions / H, 1) (Policy Decorator, section 4.2), or the share of
        episodes that the residual has earned."""
        if self._algo.steers and not self.learning:
            return 0.0  # first rows with the base's own noise, from all of its distribution
        if self._algo.mask_by == "success":
            return self.gate.share
        horizon = self._algo.mask_horizon
        return 1.0 if horizon == 0 else min(1.0, self.decisions / horizon)

    def behaviour(self) -> Behaviour:
        return Behaviour(
            mask_probability=self.mask_probability,
            mask_episodes=self._algo.mask_by == "success",
            uniform=self._algo.uniform_until_learning and not self.learning,
            noise_std=self._algo.noise_std,
            noise_ladder=self._algo.noise_ladder,
            noise_probability=self._algo.noise_probability,
            noise_decisions=self._algo.noise_decisions,
            decisions=self.decisions,
        )
