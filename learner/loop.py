"""run_learner: receive, update, publish, until the frame budget is used; then evaluate and report."""

from __future__ import annotations

import logging
import threading
import time

import msgspec
import torch
import yaml
from torch import Tensor

from actor.policy.contract import BasePolicy
from actor.policy.device import require_device
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from config.main import Config
from learner.algorithms.observation_scale import RunningScale
from learner.algorithms.products import use_fast_products
from learner.algorithms.residual_sac import Figures, ResidualSAC
from learner.broadcast import Broadcast
from learner.checkpoints.files import TrainingState, save_checkpoint
from learner.intake.intake import Intake, Received
from learner.replay.dataset.store import LeRobotStore
from learner.replay.journal.journal import Journal
from learner.replay.memory.batches import Batches
from learner.replay.prior.prior import SPEC_FILE, PriorData
from learner.replay.restore.ring import restore_ring
from learner.replay.rewards import frame_cost, rewarded
from learner.report.metrics import Metrics, size_mb
from learner.report.progress import RunProgress
from learner.report.summary import write_summary
from learner.run import (
    RunError,
    load_prior,
    make_prior_ring,
    make_ring,
    make_run_dir,
    make_store,
    sole_learner,
)
from learner.schedule.pace import Pace
from protocol.arrays import Limits
from protocol.messages import Progress

log = logging.getLogger(__name__)

# Between two looks at the socket: short, so that actors never wait for credit during updates.
UPDATES_PER_TURN = 8


def run_learner(config: Config, stop: threading.Event) -> None:
    """One run, from an empty folder, or from where an earlier process was stopped, to `summary.json`.

    Raises:
        CheckpointError, DemonstrationError, DeviceError, IntakeError, JournalError, RunError: see their
            messages.
    """
    require_device("learner.device", config.learner.device)
    require_device("learner.replay_device", config.learner.replay_device)
    with sole_learner(make_run_dir(config)):
        _run(config, stop)


def _run(config: Config, stop: threading.Event) -> None:
    torch.set_num_threads(config.learner.threads)
    use_fast_products()
    base = make_base(config.base, config.task, config.learner.device)
    algorithm = ResidualSAC(
        config.algo, base.observation_dim, base.action_dim, seed=config.seed, device=config.learner.device
    )
    prior = load_prior(config, base)
    run_dir = config.run_dir
    resume = (run_dir / "config.yaml").exists()
    (run_dir / "config.yaml").write_text(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False))
    spec = experience_spec(config, base)
    (run_dir / SPEC_FILE).write_bytes(msgspec.json.encode(spec))
    limits = msgspec.convert(config.wire, Limits, from_attributes=True)
    journal = Journal(run_dir / "journal", config.learner.journal, spec, limits)
    # Rows with images are large: what waits in memory is bounded as well as what waits for the disk.
    queue_rows = min(config.wire.credit_rows, journal.room_rows(spec))
    intake = Intake(config.wire, spec, queue_rows=queue_rows, journal=journal)
    try:
        shown = msgspec.to_builtins(config)
        with Metrics(run_dir, config.learner.wandb, shown, resume=resume) as metrics:
            store = make_store(config, run_dir, base)
            try:
                learner = Learner(config, base, algorithm, prior, intake, journal, store, metrics, stop)
                learner.take_up()
                intake.start()
                learner.train()
                if not stop.is_set():
                    learner.conclude()
            finally:
                store.close(compact=not stop.is_set())
            if not stop.is_set():
                write_summary(run_dir, config, learner.progress, store)
                intake.announce(learner.announcement(finished=True))
    finally:
        intake.close()
        journal.close()
    if not stop.is_set():
        journal.discard(store.committed())


class Learner:
    """The parts of a run and the loop over them."""

    def __init__(
        self,
        config: Config,
        base: BasePolicy,
        algorithm: ResidualSAC,
        prior: PriorData | None,
        intake: Intake,
        journal: Journal,
        store: LeRobotStore,
        metrics: Metrics,
        stop: threading.Event,
    ) -> None:
        self._config, self._settings = config, config.learner
        self._algorithm, self._intake, self._store, self._stop = algorithm, intake, store, stop
        self._metrics, self._journal = metrics, journal
        images = self._settings.replay_images
        self._ring = make_ring(self._settings.replay_capacity, config, base, images=images)
        log.info("replay: %d rows planned, %.0f MB in memory", self._ring.capacity, self._ring.nbytes / 1e6)
        prior_ring = None if prior is None else make_prior_ring(prior, config, base)
        self._batches = Batches(
            config.algo, self._ring, prior_ring, seed=config.seed, device=self._settings.device
        )
        self._pace = Pace(config.algo, self._settings.max_updates_behind)
        self._broadcast = Broadcast(intake, self._settings.publish_every_s, journal)
        self._seen = RunningScale(algorithm.actor.related.observation_dim)
        self._prior_clipped = None if prior is None else prior.clipped_share
        if prior_ring is not None and config.algo.scale_observations != "off":
            self._see(prior_ring.observation)
            self._algorithm.scale_observations(self._seen)
        self._figures: Figures = {}
        self._lag_s = float("nan")
        self.progress = RunProgress(config)
        self._checkpoints = config.run_dir / "checkpoints"
        parts = {
            "algorithm": algorithm, "batches": self._batches, "pace": self._pace, "seen": self._seen,
            "progress": self.progress,
        }  # fmt: skip
        self._state = TrainingState(self._checkpoints, parts)
        self._saved_s = time.monotonic()

    def take_up(self) -> None:
        """Take back what an earlier process received: from the dataset, and from the journal what had not
        come into it. The store skips what it has. Then what it had learned.

        Raises:
            CheckpointError: that belongs to another configuration.
        """
        rows = 0
        if self._store.episodes:
            restore_ring(self._config.run_dir / "replay", self._ring, frame_cost(self._config.algo))
        for actor_id, session, columns, position in self._journal.replay():
            # What the dataset held already comes to the same place: nothing is there twice.
            self._ring.add(actor_id, rewarded(columns, self._config.algo), position)
            self._store.add(actor_id, session, columns, position)
            rows += len(columns["frames"])
        for state in self._journal.sessions:
            if state.ended:
                self._store.end_session(state.actor_id, state.session)
        totals = self._journal.totals
        if totals.decisions:
            log.info("took up %d decisions, %d of them from the journal", totals.decisions, rows)
        self._pace.take_up(totals.decisions)
        self.progress.take_up(totals.decisions, totals.frames, self._journal.evaluations)
        self._broadcast.version = self._journal.version
        if self._state.load():
            log.info("took up the networks at update %d", self._algorithm.updates)
        elif totals.decisions:
            log.info("no checkpoint yet: networks begin anew")

    def train(self) -> None:
        """Until the frame budget is used and paid for with updates, or somebody says stop."""
        while self.progress.frames < self._settings.total_frames and not self._stop.is_set():
            now_s = time.monotonic()
            self._receive()
            self._update()
            self._publish_and_report(now_s)
        while self._pace.updates_due and not self._stop.is_set():
            self._update()
            self._publish_and_report(time.monotonic())
        self._save()

    def conclude(self) -> None:
        """Publish the final weights, wait for their evaluation, keep a checkpoint."""
        self._publish(time.monotonic(), final=True)
        self._save()
        self.progress.trained(time.monotonic(), self._pace.updates)
        self._intake.announce(self.announcement(evaluate=True))
        deadline = time.monotonic() + self._settings.evaluation.final_timeout_s
        while not self.progress.final_evaluation(self._broadcast.version) and not self._stop.is_set():
            # Actors may still be emptying their pockets; what arrives is kept.
            self._keep(self._intake.drain(timeout_s=0.2))
            self._end_sessions()
            self._take_evaluations()
            self._report_if_due(time.monotonic(), waiting_for="the final evaluation")
            if time.monotonic() > deadline:
                raise RunError(
                    f"no final evaluation within {self._settings.evaluation.final_timeout_s:.0f} s: "
                    "is the evaluator running (python -m actor.evaluate)?"
                )
        if not self._stop.is_set():
            for peer in self._intake.peers():
                self._store.end_session(peer.actor_id, peer.session)

    def announcement(self, *, evaluate: bool = False, finished: bool = False) -> Progress:
        """What every peer should know now."""
        return Progress(
            decisions=self._pace.decisions,
            updates=self._pace.updates,
            version=self._broadcast.version,
            evaluate=evaluate,
            finished=finished,
        )

    def _update(self) -> None:
        """A few of the updates that are due."""
        self._algorithm.pessimism = self._pace.pessimism
        for _ in range(min(self._pace.updates_due, UPDATES_PER_TURN)):
            self._figures |= self._algorithm.update(self._batches.next())
            if self._algorithm.errors is not None:
                self._batches.reprioritise(self._algorithm.errors)
            self._pace.updates += 1

    def _receive(self) -> None:
        idle = self._pace.updates_due == 0
        if self._pace.takes_data:
            self._keep(self._intake.drain(timeout_s=0.05 if idle else 0.0))
            self._end_sessions()
        self._take_evaluations()

    def _keep(self, batches: list[Received]) -> None:
        for received in batches:
            worth = rewarded(received.columns, self._config.algo)
            self._ring.add(received.actor_id, worth, received.position)
            self._store.add(received.actor_id, received.session, received.columns, received.position)
            self._pace.decisions += len(received.columns["frames"])
            self._see(torch.tensor(received.columns["observation"][:, 0]))
            self._pace.gate.count(received.actor_id, received.columns)
            self._algorithm.actor.reach.fill_(self._pace.reach)  # type: ignore[operator]
            self._lag_s = self._broadcast.age_s(received.columns["weights_version"], time.monotonic())
            self.progress.count(received.columns, self._broadcast.version, time.monotonic())

    def _see(self, observation: Tensor) -> None:
        """Count observations (M, O) for the networks' scale."""
        related = self._algorithm.actor.related(observation.to(self._algorithm.device))
        self._seen.add(related.cpu().numpy())

    def _end_sessions(self) -> None:
        for actor_id, session in self._intake.ended_sessions():
            self._store.end_session(actor_id, session)

    def _take_evaluations(self) -> None:
        for evaluation in self._intake.evaluations():
            self._metrics.log(self.progress.add_evaluation(evaluation))

    def _publish_and_report(self, now_s: float) -> None:
        if self._broadcast.due(now_s):
            self._publish(now_s)
            self._intake.announce(self.announcement())
        self._intake.raise_if_failed()
        self._store.raise_if_failed()
        self._journal.raise_if_failed()
        if now_s - self._saved_s >= self._settings.checkpoint_every_s:
            self._save()
        self._report_if_due(now_s, waiting_for=self._waiting_for())
        if self._pace.takes_data and self.progress.silent_s(now_s) > self._settings.stall_timeout_s:
            raise RunError(
                f"no experience for {self._settings.stall_timeout_s:.0f} s: are the actors running?"
            )

    def _save(self) -> None:
        """For other tools, and for a process that comes after this one."""
        self._saved_s = time.monotonic()
        save_checkpoint(self._checkpoints, self._algorithm, self._broadcast.version, self._config.algo)
        self._state.save()

    def _publish(self, now_s: float, *, final: bool = False) -> None:
        # With the weights and never between two of them: what actors run is what was trained.
        if self._config.algo.scale_observations == "running" and self._seen.count:
            self._algorithm.scale_observations(self._seen)
        self._broadcast.publish(self._algorithm.actor, self._pace.behaviour(), now_s=now_s, final=final)
        self.progress.published(self._broadcast.version, self._pace.updates, now_s)

    def _waiting_for(self) -> str:
        if self.progress.frames == 0:
            actors = sum(peer.alive and peer.role == "actor" for peer in self._intake.peers())
            return f"first experience, {actors} actors connected"
        if not self._pace.learning:
            wanted = self._config.algo.learning_starts
            return f"{self._pace.decisions} of {wanted} decisions before learning starts"
        return "" if self._pace.takes_data else "updates (actors wait)"

    def _report_if_due(self, now_s: float, waiting_for: str) -> None:
        point = self.progress.point_if_due(now_s, self._pace.updates)
        if point is None:
            return
        self._journal.prune(self._store.committed())
        point |= {name: float(value()) for name, value in self._figures.items()}
        point |= {
            "decisions": self._pace.decisions,
            "version": self._broadcast.version,
            "mask_probability": self._pace.mask_probability,
            "prior_clipped_share": self._prior_clipped,
            "reach": self._pace.reach,
            "confidence": self._pace.gate.confidence,
            "updates_due": self._pace.updates_due,
            "non_finite_errors": self._batches.non_finite_errors,
            "actors": sum(peer.alive and peer.role == "actor" for peer in self._intake.peers()),
            "policy_lag_s": self._lag_s,
            "adoption_s": self._intake.adoption_s(),
            "queue_rows": self._intake.queued_rows(),
            "queue_episodes": self._store.pending,
            "episodes_on_disk": self._store.episodes,
            "journal_mb": self._journal.bytes_on_disk / 1e6,
            "disk_mb": size_mb(self._config.run_dir),
            "waiting_for": waiting_for,
        }
        self._metrics.log(point)
        self.progress.say(point)
