"""The learner's loop: receive, update, publish, until the schedule ends; then the final evaluation."""

import functools
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import torch

from config.main import Config
from config.process import FailedError
from learner.algorithms.contract import Figures, Training
from learner.algorithms.finite import NonFinite, NonFiniteError
from learner.broadcast import Broadcast
from learner.checkpoints.bases import PublishedBases
from learner.checkpoints.best import BestCheckpoint
from learner.checkpoints.evaluated import EvaluatedCheckpoints
from learner.checkpoints.files import Checkpoints
from learner.intake.intake import Intake
from learner.intake.queue import Received
from learner.publications import Timed
from learner.ranks.ranks import Ranks
from learner.replay.run import RunReplay
from learner.report.report import Report
from protocol.messages import Progress

log = logging.getLogger(__name__)

# Between two looks at the socket: few, so that actors never wait for credit during updates.
UPDATES_PER_TURN = 8


class StalledError(FailedError):
    """Nothing has arrived that the run needs to go on or to end."""


class DivergedError(NonFiniteError):
    """An update was skipped because it was not finite; `batch` is what it was to learn from."""

    def __init__(self, step: NonFinite, batch: Any) -> None:
        super().__init__(str(step))
        self.step, self.batch = step, batch


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    intake: Intake
    replay: RunReplay
    training: Training
    broadcast: Broadcast
    checkpoints: Checkpoints
    best: BestCheckpoint
    bases: PublishedBases
    evaluated: EvaluatedCheckpoints
    report: Report
    ranks: Ranks


class Loop:
    """Moves experience from the intake to the replay, and weights from the algorithm to the actors."""

    def __init__(self, config: Config, parts: Parts, stop: threading.Event) -> None:
        self._settings, self._parts, self._stop = config.learner, parts, stop
        self._is_evaluated = config.algo.is_evaluated
        self._schedule = parts.training.schedule
        self._publications = parts.training.publications or Timed(config.learner.publish_every_s)
        self._figures: Figures = {}
        self._saved_s = time.monotonic()

    def train(self) -> None:
        """Until the schedule wants no more data and every update due was made, until evaluations reach
        `learner.stop_at`, or until `stop` is set.
        Raises NonFiniteError, RankError, StalledError: see their messages."""
        schedule, progress = self._schedule, self._parts.report.progress
        while schedule.finished is None and not self._is_over():
            self._receive()
            self._update()
            self._publish_and_save()
            self._require_experience()
        while schedule.updates_due and not self._is_over():
            self._update()
            self._publish_and_save()
        if schedule.finished is not None and not self._is_over():
            log.info("training is over: %s", schedule.finished)
        if progress.stopped_early:
            log.info("training ends early, after %d frames: %s", progress.frames, progress.stopped_early)
        self._save()
        self._dismiss_ranks()

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._parts.report.progress.stopped_early is not None

    def conclude(self) -> None:
        """Publish the final weights, keep them, and wait for their evaluation, if there is one.
        Raises StalledError: nobody evaluated them in time."""
        self._publish(final=True)
        self._save()
        self._parts.report.progress.trained(time.monotonic(), self._schedule.updates)
        self.announce(evaluate=True)
        if self._is_evaluated:
            self._wait_for_final_evaluation()
        if not self._stop.is_set():
            peers = self._parts.intake.peers()
            self._parts.replay.end_sessions((peer.actor_id, peer.session) for peer in peers)

    def announce(self, *, evaluate: bool = False, finished: bool = False) -> None:
        schedule, version = self._schedule, self._parts.broadcast.version
        self._parts.intake.announce(
            Progress(
                decisions=schedule.decisions,
                updates=schedule.updates,
                version=version,
                evaluate=evaluate,
                finished=finished,
            )
        )

    def _receive(self) -> None:
        schedule = self._schedule
        if schedule.takes_data:
            # With no update to make there is time to wait for data.
            self._keep(self._parts.intake.drain(timeout_s=0.0 if schedule.updates_due else 0.05))
        self._add_evaluations()

    def _add_evaluations(self) -> None:
        evaluations = self._parts.intake.evaluations()
        self._parts.report.add_evaluations(evaluations)
        self._parts.best.consider(evaluations)
        self._parts.bases.consider(evaluations)
        self._parts.evaluated.add(evaluations)

    def _keep(self, batches: list[Received]) -> None:
        for received in batches:
            columns = received.columns
            self._parts.replay.add(received.actor_id, received.session, columns, received.position)
            self._schedule.count(received.actor_id, columns)
            self._parts.report.count(received.actor_id, columns, time.monotonic())
        self._parts.replay.end_sessions(self._parts.intake.ended_sessions())

    def _update(self) -> None:
        """Some of the updates that are due.
        Raises DivergedError: one of them was not finite; nothing has changed since the one before it."""
        algorithm, batches = self._parts.training.algorithm, self._parts.training.batches
        for _ in range(UPDATES_PER_TURN):
            if not self._schedule.updates_due:
                break
            self._figures |= algorithm.update(self._parts.ranks.share(batches.next()))
            self._schedule.updates += 1
        skipped = algorithm.first_skipped()
        if skipped is not None:
            raise DivergedError(skipped, batches.drawn(algorithm.updates - skipped.update))

    def _publish_and_save(self) -> None:
        """What is due of publishing, saving and reporting."""
        now_s = time.monotonic()
        if self._publications.due(now_s):
            self._publish()
            self.announce()
        self._parts.intake.raise_if_failed()
        self._parts.replay.raise_if_failed()
        self._parts.ranks.raise_if_lost()
        if now_s - self._saved_s >= self._settings.checkpoint_every_s:
            self._save()
        self._parts.report.write_if_due(self._figures, now_s)

    def _publish(self, *, final: bool = False) -> None:
        now_s, updates = time.monotonic(), self._schedule.updates
        base = self._parts.training.algorithm.base()
        if base is not None:
            self._parts.broadcast.offer_base(base.weights)
        weights = self._parts.broadcast.publish(
            self._parts.training.algorithm.published(), self._schedule.behaviour(), now_s=now_s, final=final
        )
        self._publications.published(weights.version, now_s)
        if base is not None:
            self._parts.bases.add(weights.version, base.save)
        self._parts.best.remember(weights, updates)
        self._parts.report.progress.published(weights.version, updates, now_s)

    def _save(self) -> None:
        """For other tools, and for the process that resumes this run."""
        self._saved_s = time.monotonic()
        self._parts.checkpoints.save(self._parts.broadcast.version)

    def _dismiss_ranks(self) -> None:
        means = self._parts.ranks.mean(self._figures)
        self._figures = {name: functools.partial(torch.tensor, value) for name, value in means.items()}
        self._parts.ranks.dismiss()

    def _require_experience(self) -> None:
        limit_s = self._settings.stall_timeout_s
        wanted = self._schedule.takes_data
        silent_s = self._parts.report.progress.silent_s(time.monotonic(), wanted=wanted)
        if silent_s > limit_s:
            raise StalledError(f"no experience for {limit_s:.0f} s: are the actors running?")

    def _wait_for_final_evaluation(self) -> None:
        limit_s = self._settings.evaluation.final_timeout_s
        deadline_s = time.monotonic() + limit_s
        report, version = self._parts.report, self._parts.broadcast.version
        while not report.progress.final_evaluation(version) and not self._stop.is_set():
            # Actors may still be sending what they have; it is kept.
            self._keep(self._parts.intake.drain(timeout_s=0.2))
            self._add_evaluations()
            report.write_if_due(self._figures, time.monotonic(), waiting_for="the final evaluation")
            if time.monotonic() > deadline_s:
                raise StalledError(
                    f"no final evaluation within {limit_s:.0f} s: "
                    "is the evaluator running (python -m actor.evaluate)?"
                )
