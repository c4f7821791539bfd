"""Batch after batch: collect, learn, publish."""

import msgspec

from learner.on_policy.algorithm import OnPolicy
from learner.on_policy.batches import Minibatches
from learner.on_policy.collector import Collector
from learner.schedule.counted import Counted
from protocol.messages import Behaviour


class BatchSchedule(Counted):
    """See `Schedule`. A full batch is learned from at once. Actors wait by themselves (`Behaviour.round`)."""

    takes_data = True

    def __init__(
        self, algorithm: OnPolicy, batches: Minibatches, collector: Collector, total_frames: int
    ) -> None:
        super().__init__(total_frames)
        self._algorithm, self._batches, self._collector = algorithm, batches, collector

    @property
    def updates_due(self) -> int:
        if not self._batches.left and self._collector.is_full:
            self._batches.begin()
        return self._batches.left

    @property
    def waiting_for(self) -> str:
        if self._batches.left:
            return "updates (actors wait)"
        algo, collector = self._algorithm.algo, self._collector
        return f"{collector.units} of {algo.batch_units} {algo.rounds_of} of batch {collector.batch}"

    def behaviour(self) -> Behaviour:
        """Each decision is drawn from the policy; nothing is added."""
        return msgspec.structs.replace(super().behaviour(), round=self._collector.round)

    def figures(self) -> dict[str, float]:
        return {
            "batches": float(self._collector.batch),
            "decisions_too_old": float(self._collector.dropped),
            **self._algorithm.figures,
        }


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
