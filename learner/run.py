"""How a run starts, resumes and ends."""

import contextlib
import logging
import threading
from collections.abc import Generator

import msgspec
import torch

from actor.policy.contract import BasePolicy
from actor.policy.device import require_device
from actor.policy.from_run import with_residual
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from config.compose import write_config
from config.main import Config
from config.shared import describe_run
from learner.algorithms.contract import Schedule, Training
from learner.algorithms.finite import NonFiniteError
from learner.algorithms.products import use_fast_products
from learner.broadcast import Broadcast
from learner.checkpoints.bases import PublishedBases
from learner.checkpoints.best import BestCheckpoint
from learner.checkpoints.evaluated import EvaluatedCheckpoints
from learner.checkpoints.files import Checkpoints
from learner.folder import has_launcher, is_begun, make_run_dir, sole_learner
from learner.follow import follow
from learner.intake.intake import Intake
from learner.loop import DivergedError, Loop, Parts
from learner.make import make_training, sizes_in
from learner.ranks.ranks import Ranks
from learner.ranks.start import joined_ranks
from learner.ranks.starts import RunStart, lead
from learner.replay.dataset.keep import Keep
from learner.replay.dataset.store import LeRobotStore
from learner.replay.journal.journal import Journal
from learner.replay.prior.origin import SPEC_FILE
from learner.replay.run import RunReplay, make_store
from learner.report.evaluations import EvaluationLog
from learner.report.metrics import Metrics
from learner.report.progress import RunProgress
from learner.report.report import Report, Sources
from learner.report.summary import write_summary
from learner.tracking.trackers import Tracked, require_trackers
from protocol.arrays import Limits
from protocol.messages import ExperienceSpec

log = logging.getLogger(__name__)


def run_learner(config: Config, stop: threading.Event) -> None:
    """One run, from an empty folder, or from where an earlier process was stopped, to `summary.json`.
    Raises CheckpointError, DemonstrationError, DeviceError, IntakeError, JournalError, NonFiniteError,
    RankError, RunError, StalledError, TrackerError: see their messages."""
    config = with_residual(config)
    require_trackers(config.tracking, config.learner.wandb)
    require_device("learner.device", config.learner.device)
    require_device("learner.replay_device", config.learner.replay_device)
    settings = config.learner
    with joined_ranks(settings.processes, settings.device, settings.threads, section="learner.") as ranks:
        if ranks.rank:
            follow(ranks)
        else:
            _run_alone(_placed(config, ranks), ranks, stop)


def _placed(config: Config, ranks: Ranks) -> Config:
    """With the device that Accelerate has chosen, if it did."""
    learner = msgspec.structs.replace(config.learner, device=ranks.device or config.learner.device)
    return msgspec.structs.replace(config, learner=learner)


def _run_alone(config: Config, ranks: Ranks, stop: threading.Event) -> None:
    """As rank 0, the only one that has the run's folder."""
    with sole_learner(make_run_dir(config)):
        torch.set_num_threads(config.learner.threads)
        use_fast_products()
        base = make_base(config.base, config.task, config.learner.device)
        training = make_training(config, base, ranks)
        try:
            _run(config, base, training, ranks, stop)
        except DivergedError as error:
            raise NonFiniteError(training.explain(error.step, error.batch)) from error


def _run(config: Config, base: BasePolicy, training: Training, ranks: Ranks, stop: threading.Event) -> None:
    resumes, spec = is_begun(config.run_dir), experience_spec(config, base)
    with contextlib.ExitStack() as opened:
        # Closed last: what is received is safe by then, however long trackers take.
        shown = msgspec.to_builtins(config)
        tracked = Tracked(
            config.run_dir, config.tracking, config.learner.wandb, shown,
            resume=resumes, has_launcher=has_launcher(config.run_dir),
        )  # fmt: skip
        metrics = opened.enter_context(Metrics(tracked))
        limits = msgspec.convert(config.wire, Limits, from_attributes=True)
        journal = Journal(config.run_dir / "journal", config.learner.journal, spec, limits)
        opened.enter_context(contextlib.closing(journal))
        intake = opened.enter_context(contextlib.closing(_make_intake(config, spec, journal)))
        with _opened_store(config, base, training.keep, stop) as store:
            replay = RunReplay(config.run_dir / "replay", training.memory, journal, store)
            evaluations = EvaluationLog(config.run_dir, resume=resumes)
            parts = _join(config, base, training, ranks, intake, replay, metrics, evaluations)
            # Only now, so that a run that is refused here keeps its own configuration.
            write_config(config.run_dir / "config.yaml", config)
            (config.run_dir / SPEC_FILE).write_bytes(msgspec.json.encode(spec))
            intake.start()
            loop = Loop(config, parts, stop)
            loop.train()
            if not stop.is_set():
                loop.conclude()
            if stop.is_set():
                metrics.end(hurried=True)
        if not stop.is_set():
            best = parts.best if parts.bases.score is None else parts.bases
            progress, results = parts.report.progress, training.results()
            write_summary(config.run_dir, config, progress, store, best, results)
            metrics.end(hurried=False)  # with the summary
            loop.announce(finished=True)
    if not stop.is_set():
        is_full = training.keep is not None and training.keep.full
        journal.discard(None if is_full else store.committed())


def _join(
    config: Config,
    base: BasePolicy,
    training: Training,
    ranks: Ranks,
    intake: Intake,
    replay: RunReplay,
    metrics: Metrics,
    evaluations: EvaluationLog,
) -> Parts:
    """The parts of the loop, as an earlier process left them."""
    algorithm, schedule, progress = training.algorithm, training.schedule, RunProgress(config)
    resumable = {
        "algorithm": algorithm,
        "batches": training.batches,
        "pace": schedule,
        "progress": progress,
    }
    folder = config.run_dir / "checkpoints"
    checkpoints = Checkpoints(folder, algorithm, resumable, config.algo)
    replay.restore()
    _resume(replay.journal, schedule, progress, checkpoints)
    sizes = sizes_in(experience_spec(config, base))
    lead(ranks, RunStart(config.algo, sizes, config.seed, config.learner.threads), algorithm.state())
    # The journal knows which versions were published: those of this process are newer.
    broadcast = Broadcast(intake, replay.journal)
    sources = Sources(training, broadcast, intake, replay, ranks)
    report = Report(config, progress, metrics, evaluations, sources)
    best, bases = BestCheckpoint(folder, config.algo), PublishedBases(folder)
    evaluated = EvaluatedCheckpoints(folder, best.residual_of, config.learner.evaluation.keep_versions)
    return Parts(intake, replay, training, broadcast, checkpoints, best, bases, evaluated, report, ranks)


def _resume(journal: Journal, schedule: Schedule, progress: RunProgress, checkpoints: Checkpoints) -> None:
    """Continue counting and training where an earlier process stopped, if there was one.
    Raises CheckpointError: its checkpoint belongs to another configuration."""
    received = journal.totals
    schedule.resume(received.decisions, received.frames)
    is_resumed = checkpoints.load()
    progress.resume(received.decisions, received.frames, journal.evaluations)
    if is_resumed:
        log.info("resumed the networks from update %d", schedule.updates)
    elif received.decisions:
        log.info("no checkpoint yet: the networks start anew")


def _make_intake(config: Config, spec: ExperienceSpec, journal: Journal) -> Intake:
    # Rows with images are large: what waits in memory is bounded as well as what waits for the disk.
    queue_rows = min(config.wire.credit_rows, journal.most_pending_rows(spec))
    run = describe_run(config, spec.base_fingerprint)
    return Intake(config.wire, spec, queue_rows=queue_rows, journal=journal, run=run)


@contextlib.contextmanager
def _opened_store(
    config: Config, base: BasePolicy, keep: Keep | None, stop: threading.Event
) -> Generator[LeRobotStore]:
    store, compact = make_store(config, base, keep), False
    try:
        yield store
        # Who stops a run does not wait until its files are few. A run that is refused keeps its own.
        compact = not stop.is_set()
    finally:
        store.close(compact=compact)
