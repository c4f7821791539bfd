"""How many updates of the base are due, and when a run ends."""

from typing import Any

import msgspec

from config.tuning import RejectionConfig, SftConfig
from learner.algorithms.contract import Goal
from learner.schedule.counted import Counted
from learner.tuning.successes import Successes
from protocol.arrays import Columns
from protocol.messages import Behaviour


class SftSchedule(Counted):
    """See `Schedule`. All updates are due at once. What actors play meanwhile only shows how good the base
    is: frames are received in proportion to the updates made, `total_frames` over all of them."""

    def __init__(self, algo: SftConfig, total_frames: int) -> None:
        super().__init__(total_frames)
        self._steps = algo.steps

    @property
    def updates_due(self) -> int:
        return max(0, self._steps - self.updates)

    @property
    def takes_data(self) -> bool:
        return self.frames * self._steps <= self._total_frames * (self.updates + 1)

    @property
    def waiting_for(self) -> str:
        return ""

    @property
    def finished(self) -> str | None:
        return None if self.updates_due else f"all {self._steps} updates are made"

    @property
    def goal(self) -> Goal:
        return Goal(self.updates, self._steps, "updates")

    def figures(self) -> dict[str, float]:
        return {}


class RoundSchedule(Counted):
    """See `Schedule`. The first round begins with enough successes, the last one when `total_frames` have
    arrived, the others in equal distances of frames between.

    `successes`: what the base can learn from so far.
    """

    def __init__(self, algo: RejectionConfig, total_frames: int, successes: Successes) -> None:
        super().__init__(total_frames)
        self._algo, self._successes = algo, successes
        self._started_at: int | None = None

    def resume(self, decisions: int, frames: int) -> None:
        super().resume(decisions, frames)
        self._start_if_enough()

    def count(self, actor_id: str, columns: Columns) -> None:
        super().count(actor_id, columns)
        self._start_if_enough()

    def state(self) -> dict[str, Any]:
        return super().state() | {"started_at": self._started_at}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._started_at = state["started_at"]
        self._start_if_enough()

    @property
    def rounds_begun(self) -> int:
        if self._started_at is None:
            return 0
        gaps = self._algo.rounds - 1
        span = max(1, self._total_frames - self._started_at)
        passed = min(span, self.frames - self._started_at)
        return 1 + gaps * passed // span

    @property
    def updates_due(self) -> int:
        return max(0, self.rounds_begun * self._algo.sft_steps - self.updates)

    @property
    def takes_data(self) -> bool:
        """Actors go on playing during a round, until the next one is due as well."""
        return self.updates_due <= self._algo.sft_steps

    @property
    def waiting_for(self) -> str:
        if self._started_at is None:
            wanted = self._algo.successes_to_start
            return f"{self._successes.episodes} of {wanted} successful episodes before the first round"
        return "" if self.takes_data else "updates (actors wait)"

    @property
    def finished(self) -> str | None:
        used = super().finished
        if used is None or self._started_at is not None:
            return used
        return f"{used}, and the base was not trained: {self.waiting_for}"

    def behaviour(self) -> Behaviour:
        return msgspec.structs.replace(
            super().behaviour(),
            mask_probability=1.0,
            noise_std=self._algo.noise_std,
            noise_ladder=True,
            noise_probability=self._algo.noise_probability,
            noise_decisions=self._algo.noise_decisions,
        )

    def figures(self) -> dict[str, float]:
        return {"rounds": float(self.rounds_begun), **self._successes.figures()}

    def _start_if_enough(self) -> None:
        if self._started_at is None and self._successes.episodes >= self._algo.successes_to_start:
            self._started_at = self.frames
