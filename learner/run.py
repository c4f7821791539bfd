"""How a run starts, resumes and ends."""

import contextlib
import logging
import threading
from collections.abc import Generator

import msgspec
import torch

from actor.policy.contract import BasePolicy
from actor.policy.device import require_device
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from config.compose import write_config
from config.limits import usable_memory
from config.main import Config
from config.shared import describe_run
from learner.algorithms.finite import NonFiniteError
from learner.algorithms.products import use_fast_products
from learner.algorithms.residual_sac import ResidualSAC
from learner.broadcast import Broadcast
from learner.checkpoints.best import BestCheckpoint
from learner.checkpoints.evaluated import EvaluatedCheckpoints
from learner.checkpoints.files import Checkpoints
from learner.diverged import explain
from learner.folder import has_launcher, is_begun, make_run_dir, sole_learner
from learner.follow import follow
from learner.intake.intake import Intake
from learner.loop import DivergedError, Loop, Parts
from learner.ranks.ranks import Ranks
from learner.ranks.start import joined_ranks
from learner.ranks.starts import RunStart, lead
from learner.replay.dataset.store import LeRobotStore
from learner.replay.journal.journal import Journal
from learner.replay.memory.batches import Batches
from learner.replay.memory.columns import optional_shapes
from learner.replay.memory.hindsight import Hindsight
from learner.replay.memory.ring import Ring
from learner.replay.prior.origin import SPEC_FILE
from learner.replay.prior.prior import PriorData
from learner.replay.run import RunReplay, load_prior, make_prior_ring, make_ring, make_store
from learner.report.evaluations import EvaluationLog
from learner.report.metrics import Metrics
from learner.report.progress import RunProgress
from learner.report.report import Report, Sources
from learner.report.summary import write_summary
from learner.schedule.pace import Pace
from learner.tracking.trackers import Tracked, require_trackers
from protocol.arrays import Limits
from protocol.messages import ExperienceSpec

log = logging.getLogger(__name__)


def run_learner(config: Config, stop: threading.Event) -> None:
    """One run, from an empty folder, or from where an earlier process was stopped, to `summary.json`.
    Raises CheckpointError, DemonstrationError, DeviceError, IntakeError, JournalError, NonFiniteError,
    RankError, RunError, StalledError, TrackerError: see their messages."""
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
        prior = load_prior(config, base)
        try:
            _run(config, base, prior, ranks, stop)
        except DivergedError as error:
            spec = experience_spec(config, base)
            raise NonFiniteError(explain(error.step, error.batch, config, spec, prior)) from error


def _run(
    config: Config, base: BasePolicy, prior: PriorData | None, ranks: Ranks, stop: threading.Event
) -> None:
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
        with _opened_store(config, base, stop) as store:
            replay = RunReplay(config.run_dir / "replay", _make_ring(config, base), journal, store)
            evaluations = EvaluationLog(config.run_dir, resume=resumes)
            parts = _join(config, base, prior, ranks, intake, replay, metrics, evaluations)
            # Only now, so that a run that is refused here keeps its own configuration.
            write_config(config.run_dir / "config.yaml", config)
            (config.run_dir / SPEC_FILE).write_bytes(msgspec.json.encode(spec))
            intake.start()
            loop = Loop(config.learner, parts, stop)
            loop.train()
            if not stop.is_set():
                loop.conclude()
            if stop.is_set():
                metrics.end(hurried=True)
        if not stop.is_set():
            write_summary(config.run_dir, config, parts.report.progress, store, parts.best)
            metrics.end(hurried=False)  # with the summary
            loop.announce(finished=True)
    if not stop.is_set():
        journal.discard(store.committed())


def _join(
    config: Config,
    base: BasePolicy,
    prior: PriorData | None,
    ranks: Ranks,
    intake: Intake,
    replay: RunReplay,
    metrics: Metrics,
    evaluations: EvaluationLog,
) -> Parts:
    """The parts of the loop, as an earlier process left them."""
    prior_ring = None if prior is None else make_prior_ring(prior, config, base)
    algorithm = _make_algorithm(config, base, prior_ring, ranks)
    joint = msgspec.structs.replace(config.algo, batch_size=config.algo.batch_size * ranks.size)
    goal, goals = config.task.goal, config.learner.hindsight_goals
    hindsight = Hindsight(goal, goals) if goal is not None and goals else None
    device = config.learner.device
    batches = Batches(joint, replay.ring, prior_ring, seed=config.seed, device=device, hindsight=hindsight)
    pace, progress = Pace(config.algo, config.learner.max_updates_behind), RunProgress(config)
    resumable = {"algorithm": algorithm, "batches": batches, "pace": pace, "progress": progress}
    folder = config.run_dir / "checkpoints"
    checkpoints = Checkpoints(folder, algorithm, resumable, config.algo)
    replay.restore()
    _resume(replay.journal, pace, progress, checkpoints)
    sizes = base.observation_dim, base.action_dim
    lead(ranks, RunStart(config.algo, sizes, config.seed, config.learner.threads), algorithm.state())
    # The journal knows which versions were published: those of this process are newer.
    broadcast = Broadcast(intake, config.learner.publish_every_s, replay.journal)
    clipped = None if prior is None else prior.clipped_share
    sources = Sources(pace, broadcast, intake, replay, batches, clipped, ranks)
    report = Report(config, progress, metrics, evaluations, sources)
    best = BestCheckpoint(folder, config.algo)
    evaluated = EvaluatedCheckpoints(folder, best.residual_of, config.learner.evaluation.keep_versions)
    return Parts(
        intake, replay, batches, algorithm, pace, broadcast, checkpoints, best, evaluated, report, ranks
    )


def _resume(journal: Journal, pace: Pace, progress: RunProgress, checkpoints: Checkpoints) -> None:
    """Continue counting and training where an earlier process stopped, if there was one.
    Raises CheckpointError: its checkpoint belongs to another configuration."""
    received = journal.totals
    pace.resume(received.decisions)
    is_resumed = checkpoints.load()
    progress.resume(received.decisions, received.frames, journal.evaluations)
    if is_resumed:
        log.info("resumed the networks from update %d", pace.updates)
    elif received.decisions:
        log.info("no checkpoint yet: the networks start anew")


def _make_algorithm(config: Config, base: BasePolicy, prior: Ring | None, ranks: Ranks) -> ResidualSAC:
    algorithm = ResidualSAC(
        config.algo,
        base.observation_dim,
        base.action_dim,
        seed=config.seed,
        device=config.learner.device,
        ranks=ranks,
    )
    if prior is not None and config.algo.scale_observations != "off":
        algorithm.scale_observations(prior.observation)
    return algorithm


def _make_ring(config: Config, base: BasePolicy) -> Ring:
    settings = config.learner
    optional = optional_shapes(experience_spec(config, base))
    ring = make_ring(settings.replay_capacity, config, base, images=settings.replay_images, optional=optional)
    log.info("replay: %d rows planned, %.0f MB in memory", ring.capacity, ring.nbytes / 1e6)
    available = usable_memory()
    if settings.replay_device == "cpu" and available is not None and ring.nbytes > available:
        log.warning(
            "this host or container allows %.0f MB: the learner is killed when that is full; set a lower "
            "learner.replay_capacity", available / 1e6,
        )  # fmt: skip
    return ring


def _make_intake(config: Config, spec: ExperienceSpec, journal: Journal) -> Intake:
    # Rows with images are large: what waits in memory is bounded as well as what waits for the disk.
    queue_rows = min(config.wire.credit_rows, journal.most_pending_rows(spec))
    run = describe_run(config, spec.base_fingerprint)
    return Intake(config.wire, spec, queue_rows=queue_rows, journal=journal, run=run)


@contextlib.contextmanager
def _opened_store(config: Config, base: BasePolicy, stop: threading.Event) -> Generator[LeRobotStore]:
    store, compact = make_store(config, base), False
    try:
        yield store
        # Who stops a run does not wait until its files are few. A run that is refused keeps its own.
        compact = not stop.is_set()
    finally:
        store.close(compact=compact)
