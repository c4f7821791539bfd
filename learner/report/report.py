"""What people see of a run while it goes on: log lines, and the points of metrics.jsonl and wandb."""

import time
from dataclasses import dataclass
from typing import Any

from config.files import size_mb
from config.main import Config
from learner.algorithms.contract import Figures, Training
from learner.broadcast import Broadcast
from learner.intake.intake import Intake
from learner.ranks.ranks import Ranks
from learner.replay.run import RunReplay
from learner.report.evaluations import EvaluationLog, EvaluationRecord
from learner.report.interventions import InterventionCount
from learner.report.metrics import Metrics
from learner.report.progress import RunProgress
from learner.report.status import write_status
from protocol.arrays import Columns
from protocol.messages import Evaluation


@dataclass(frozen=True)
class Sources:
    """Where the figures of a point come from."""

    training: Training
    broadcast: Broadcast
    intake: Intake
    replay: RunReplay
    ranks: Ranks


class Report:
    """Counts what happens and writes it down."""

    def __init__(
        self,
        config: Config,
        progress: RunProgress,
        metrics: Metrics,
        evaluations: EvaluationLog,
        sources: Sources,
    ) -> None:
        self._config, self._metrics, self._sources = config, metrics, sources
        self._lag_s = float("nan")
        self._interventions = InterventionCount(None if config.algo.plays is None else config.algo.scale)
        self.progress, self._evaluations = progress, evaluations
        # A learner that was killed may have received some that it did not write.
        for evaluation in progress.evaluations:
            evaluations.add(EvaluationRecord.of(evaluation, progress.point_of(evaluation)))

    def count(self, actor_id: str, columns: Columns, now_s: float) -> None:
        broadcast = self._sources.broadcast
        self._lag_s = broadcast.age_s(columns["weights_version"], now_s)
        by_hand = self._interventions.count(actor_id, columns)
        self.progress.count(columns, broadcast.version, now_s, by_hand)

    def add_evaluations(self, evaluations: list[Evaluation]) -> None:
        """Remember evaluations and write a point for each."""
        for evaluation in evaluations:
            point = self.progress.add_evaluation(evaluation)
            self._metrics.log(point)
            self._evaluations.add(EvaluationRecord.of(evaluation, point))

    def write_if_due(self, figures: Figures, now_s: float, waiting_for: str | None = None) -> None:
        """Write a point every `log_every_s`, with the algorithm's newest figures.
        `waiting_for`: None: found out from how far the run is."""
        training = self._sources.training
        point = self.progress.point_if_due(now_s, training.schedule.updates)
        if point is None:
            return
        self._sources.replay.prune_journal()
        point |= self._sources.ranks.mean(figures)
        if figures:
            point |= training.batches.figures()
        point |= self._figures_of_the_parts()
        point["waiting_for"] = self._waiting_for() if waiting_for is None else waiting_for
        self._metrics.log(point)
        self.progress.say(point, training.schedule.goal)
        peers = self._sources.intake.peers()
        write_status(self._config.run_dir, time.time(), point["waiting_for"], point["version"], peers)

    def _figures_of_the_parts(self) -> dict[str, Any]:
        intake, replay, schedule = self._sources.intake, self._sources.replay, self._sources.training.schedule
        return {
            "decisions": schedule.decisions,
            "version": self._sources.broadcast.version,
            **schedule.figures(),
            **self._sources.training.facts,
            "updates_due": schedule.updates_due,
            "goal_done": schedule.goal.done,
            "goal_wanted": schedule.goal.wanted,
            "goal_unit": schedule.goal.unit,
            "actors": self._actors(),
            "policy_lag_s": self._lag_s,
            "adoption_s": intake.adoption_s(),
            "queue_rows": intake.queued_rows(),
            "queue_episodes": replay.store.pending,
            "episodes_on_disk": replay.store.episodes,
            "journal_mb": replay.journal.bytes_on_disk / 1e6,
            "disk_mb": size_mb(self._config.run_dir),
            **(self._interventions.figures() if self._config.interventions else {}),
        }

    def _waiting_for(self) -> str:
        if self.progress.frames == 0:
            return f"first experience, {self._actors()} actors connected"
        return self._sources.training.schedule.waiting_for

    def _actors(self) -> int:
        return sum(peer.alive and peer.role == "actor" for peer in self._sources.intake.peers())
