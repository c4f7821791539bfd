"""run_learner: receive, update, publish, until the frame budget is used; then evaluate and report."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from pathlib import Path

import msgspec
import torch
import yaml

from actor.policy.base import BasePolicy, make_base
from actor.policy.spec import experience_spec
from config.schema import Config
from config.schema import Learner as LearnerSettings
from learner.algorithms.residual_sac import ResidualSAC
from learner.broadcast import Broadcast
from learner.checkpoint import save_checkpoint
from learner.intake import Intake, Received
from learner.metrics import Metrics
from learner.pace import Pace
from learner.progress import RunProgress
from learner.replay.batches import Batches
from learner.replay.demonstrations import demonstration_columns, read_maniskill
from learner.replay.lerobot_store import LeRobotStore
from learner.replay.ring import Ring
from learner.replay.shards import Budget
from learner.summary import write_summary
from protocol.messages import Progress

log = logging.getLogger(__name__)

# Between two looks at the socket: short, so that actors never wait for credit during updates.
UPDATES_PER_TURN = 8


class RunError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


def run_learner(config: Config, stop: threading.Event) -> None:
    """One run, from an empty folder to `summary.json`.

    Raises:
        CheckpointError, DemonstrationError, IntakeError, RunError: see their messages.
    """
    torch.set_num_threads(config.learner.threads)
    base = make_base(config.base, config.task, config.learner.device, config.seed)
    algorithm = ResidualSAC(
        config.algo, base.observation_dim, base.action_dim, seed=config.seed, device=config.learner.device
    )
    prior = load_prior(config, base)
    if prior is not None and config.algo.scale_observations:
        algorithm.fit_observation_scale(prior.observation)
    run_dir = make_run_dir(config)
    intake = Intake(config.wire, experience_spec(config, base), queue_rows=config.wire.credit_rows)
    intake.start()
    try:
        with Metrics(run_dir, config.learner.wandb, msgspec.to_builtins(config)) as metrics:
            store = make_store(config, run_dir, base)
            try:
                learner = Learner(config, base, algorithm, prior, intake, store, metrics, stop)
                learner.train()
                learner.conclude()
            finally:
                store.close()
            if not stop.is_set():
                write_summary(run_dir, config, learner.progress, store)
                intake.announce(learner.announcement(finished=True))
    finally:
        intake.close()


def make_run_dir(config: Config) -> Path:
    """A fresh folder with the run's config.yaml. Raises RunError if it holds a run already."""
    run_dir = config.run_dir
    if (run_dir / "config.yaml").exists():
        raise RunError(f"{run_dir} holds a run already: choose another name=<run>")
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False))
    return run_dir


def make_store(config: Config, run_dir: Path, base: BasePolicy) -> LeRobotStore:
    """The run's replay on disk. Raises RunError if the observation has too few numbers to part."""
    state_dim = config.learner.robot_state_dim
    if state_dim is not None and state_dim >= base.observation_dim:
        raise RunError(
            f"learner.robot_state_dim must be below {base.observation_dim}, the observation's numbers, "
            f"got {state_dim}: null keeps all of them in observation.state"
        )
    return LeRobotStore(
        run_dir / "replay",
        repo_id=config.name,
        observation_dim=base.observation_dim,
        action_dim=base.action_dim,
        fps=config.learner.fps,
        robot_type=config.learner.robot_type,
        task=config.task.env_id,
        queue_episodes=config.learner.store_queue_episodes,
        flush_s=config.learner.store_flush_s,
        state_dim=state_dim,
        budget=make_budget(config.learner),
    )


def make_budget(settings: LearnerSettings) -> Budget:
    """How much of the replay stays on disk."""
    gigabytes = settings.replay_max_gb
    return Budget(None if gigabytes is None else gigabytes * 1e9, settings.replay_max_frames)


def load_prior(config: Config, base: BasePolicy) -> Ring | None:
    """Demonstrations in a ring of their own, or None where the recipe takes none."""
    if config.algo.prior_fraction == 0 or config.learner.demos is None:
        return None
    episodes = read_maniskill(Path(config.learner.demos))
    columns, _ = demonstration_columns(base, episodes, config.algo)
    rows = len(columns["frames"]) + len(columns["final_row"])
    numbers = config.algo.residual_every * base.action_dim
    prior = Ring(rows, base.observation_dim, numbers, device=config.learner.replay_device)
    prior.add("demonstrations", columns)
    return prior


def size_mb(folder: Path) -> float:
    """Size of all files below `folder`, in 10^6 bytes; files that vanish meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total / 1e6


class Learner:
    """The parts of a run and the loop over them."""

    def __init__(
        self,
        config: Config,
        base: BasePolicy,
        algorithm: ResidualSAC,
        prior: Ring | None,
        intake: Intake,
        store: LeRobotStore,
        metrics: Metrics,
        stop: threading.Event,
    ) -> None:
        self._config, self._settings = config, config.learner
        self._algorithm, self._intake, self._store, self._stop = algorithm, intake, store, stop
        self._metrics = metrics
        numbers = config.algo.residual_every * base.action_dim
        self._ring = Ring(
            self._settings.replay_capacity, base.observation_dim, numbers, device=self._settings.replay_device
        )
        log.info("replay: %d rows planned, %.0f MB in memory", self._ring.capacity, self._ring.nbytes / 1e6)
        self._batches = Batches(
            config.algo, self._ring, prior, seed=config.seed, device=self._settings.device
        )
        self._pace = Pace(config.algo, self._settings.max_updates_behind)
        self._broadcast = Broadcast(intake, self._settings.publish_every_s)
        self._figures: dict[str, torch.Tensor] = {}
        self.progress = RunProgress(config)

    def train(self) -> None:
        """Until the frame budget is used or somebody says stop."""
        while self.progress.frames < self._settings.total_frames and not self._stop.is_set():
            now_s = time.monotonic()
            self._receive()
            for _ in range(min(self._pace.updates_due, UPDATES_PER_TURN)):
                self._figures |= self._algorithm.update(self._batches.next())
                self._pace.updates += 1
            self._publish_and_report(now_s)

    def conclude(self) -> None:
        """Publish the final weights, wait for their evaluation, keep a checkpoint."""
        self._broadcast.publish(
            self._algorithm.actor, self._pace.behaviour(), now_s=time.monotonic(), final=True
        )
        save_checkpoint(
            self._config.run_dir / "checkpoints", self._algorithm, self._broadcast.version, self._config.algo
        )
        self.progress.trained(time.monotonic(), self._pace.updates)
        self._intake.announce(self.announcement(evaluate=True))
        deadline = time.monotonic() + self._settings.evaluation.final_timeout_s
        while not self.progress.final_evaluation(self._broadcast.version) and not self._stop.is_set():
            # Actors may still be emptying their pockets; what arrives is kept.
            self._keep(self._intake.drain(timeout_s=0.2))
            self._take_evaluations()
            self._report_if_due(time.monotonic(), waiting_for="the final evaluation")
            if time.monotonic() > deadline:
                raise RunError(
                    f"no final evaluation within {self._settings.evaluation.final_timeout_s:.0f} s: "
                    "is the evaluator running (python -m actor.evaluate)?"
                )

    def announcement(self, *, evaluate: bool = False, finished: bool = False) -> Progress:
        """What every peer should know now."""
        return Progress(
            decisions=self._pace.decisions,
            updates=self._pace.updates,
            version=self._broadcast.version,
            evaluate=evaluate,
            finished=finished,
        )

    def _receive(self) -> None:
        idle = self._pace.updates_due == 0
        if self._pace.takes_data:
            self._keep(self._intake.drain(timeout_s=0.05 if idle else 0.0))
        self._take_evaluations()

    def _keep(self, batches: list[Received]) -> None:
        for received in batches:
            position = self._ring.add(received.actor_id, received.columns)
            self._store.add(received.actor_id, received.session, received.columns, position)
            self._pace.decisions += len(received.columns["frames"])
            self.progress.count(received.columns, self._broadcast.version, time.monotonic())

    def _take_evaluations(self) -> None:
        for evaluation in self._intake.evaluations():
            self._metrics.log(self.progress.add_evaluation(evaluation))

    def _publish_and_report(self, now_s: float) -> None:
        if self._broadcast.due(now_s):
            self._broadcast.publish(self._algorithm.actor, self._pace.behaviour(), now_s=now_s)
            self._intake.announce(self.announcement())
        self._intake.raise_if_failed()
        self._store.raise_if_failed()
        self._report_if_due(now_s, waiting_for=self._waiting_for())
        if self.progress.silent_s(now_s) > self._settings.stall_timeout_s:
            raise RunError(
                f"no experience for {self._settings.stall_timeout_s:.0f} s: are the actors running?"
            )

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
        point |= {name: float(value) for name, value in self._figures.items()}
        point |= {
            "decisions": self._pace.decisions,
            "version": self._broadcast.version,
            "mask_probability": self._pace.mask_probability,
            "updates_due": self._pace.updates_due,
            "actors": sum(peer.alive and peer.role == "actor" for peer in self._intake.peers()),
            "queue_rows": self._intake.queued_rows(),
            "queue_episodes": self._store.pending,
            "episodes_on_disk": self._store.episodes,
            "disk_mb": size_mb(self._config.run_dir),
            "waiting_for": waiting_for,
        }
        self._metrics.log(point)
        self.progress.say(point)
