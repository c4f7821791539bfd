"""Batch after batch: collect, learn, publish."""

from typing import Any

import msgspec

from learner.algorithms.contract import Goal
from learner.on_policy.algorithm import OnPolicy
from learner.on_policy.batches import Minibatches
from learner.on_policy.collector import Collector
from protocol.arrays import Columns
from protocol.messages import BASE_ALONE, Behaviour


class BatchSchedule:
    """See `Schedule`. A full batch is learned from at once. Actors wait by themselves (`Behaviour.round`)."""

    takes_data = True

    def __init__(
        self, algorithm: OnPolicy, batches: Minibatches, collector: Collector, total_frames: int
    ) -> None:
        self._algorithm, self._batches, self._collector = algorithm, batches, collector
        self._total_frames = total_frames
        self.decisions = self.frames = self.updates = 0

    def resume(self, decisions: int, frames: int) -> None:
        self.decisions, self.frames, self.updates = decisions, frames, 0

    def count(self, actor_id: str, columns: Columns) -> None:
        self.decisions += len(columns["frames"])
        self.frames += int(columns["frames"].sum())

    @property
    def updates_due(self) -> int:
        if not self._batches.left and self._collector.is_full:
            if self._algorithm.algo.lr_decay:
                self._algorithm.rate(max(0.0, 1 - self.frames / self._total_frames))
            self._batches.begin()
        return self._batches.left

    @property
    def waiting_for(self) -> str:
        if self._batches.left:
            return "updates (actors wait)"
        algo, collector = self._algorithm.algo, self._collector
        return f"{collector.units} of {algo.batch_units} {algo.rounds_of} of batch {collector.batch}"

    @property
    def finished(self) -> str | None:
        used = self.frames >= self._total_frames
        return f"learner.total_frames={self._total_frames} is used" if used else None

    @property
    def goal(self) -> Goal:
        return Goal(self.frames, self._total_frames, "frames")

    def behaviour(self) -> Behaviour:
        """Each decision is drawn from the policy; nothing is added."""
        return msgspec.structs.replace(BASE_ALONE, decisions=self.decisions, round=self._collector.round)

    def figures(self) -> dict[str, float]:
        return {
            "batches": float(self._collector.batch),
            "decisions_too_old": float(self._collector.dropped),
            **self._algorithm.figures,
        }

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]


class AfterEachBatch:
    """See `Publications`: whenever a batch has been learned from, and once at the start."""

    def __init__(self, batches: Minibatches, collector: Collector) -> None:
        self._batches, self._collector = batches, collector
        self._published: int | None = None

    def due(self, now_s: float) -> bool:
        return not self._batches.left and self._published != self._collector.batch

    def published(self, version: int, now_s: float) -> None:
        self._published = self._collector.batch
        self._collector.published(version)
