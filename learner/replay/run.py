"""The transitions of a run: in memory, in the journal, in the LeRobot dataset, and prior data."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from actor.policy.contract import BasePolicy
from actor.policy.spec import experience_spec, recorded_cameras
from config.algo import AlgoConfig
from config.main import Config
from learner.folder import RunError
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.keep import Keep
from learner.replay.dataset.store import LeRobotStore
from learner.replay.journal.journal import Journal
from learner.replay.memory.columns import Shapes
from learner.replay.memory.contract import Memory
from learner.replay.memory.ring import Ring
from learner.replay.prior.check import wanted_by
from learner.replay.prior.prior import PriorData, join_prior, read_prior
from learner.replay.prior.source import require_prior_sources
from protocol.arrays import Columns
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunReplay:
    """The three stores that every transition of a run goes to."""

    folder: Path
    memory: Memory
    journal: Journal
    store: LeRobotStore

    def restore(self) -> None:
        """Read back what earlier processes received: from the dataset, and from the journal what the dataset
        does not have yet. Nothing comes twice: the store skips what it has, memory puts it in its place."""
        rows = 0
        if self.store.episodes:
            self.memory.restore(self.folder)
        for actor_id, session, columns, position in self.journal.replay():
            self.add(actor_id, session, columns, position)
            rows += len(columns["frames"])
        self.end_sessions((state.actor_id, state.session) for state in self.journal.sessions if state.ended)
        if self.journal.totals.decisions:
            log.info("resumed %d decisions, %d of them from the journal", self.journal.totals.decisions, rows)

    def add(self, actor_id: str, session: int, columns: Columns, position: int) -> None:
        """Keep the decisions of one message, which the journal has, in memory and in the dataset."""
        self.memory.add(actor_id, session, columns, position)
        self.store.add(actor_id, session, columns, position)

    def end_sessions(self, ended: Iterable[tuple[str, int]]) -> None:
        """These (actor id, session) will never send again: their unfinished episodes are kept as they are."""
        for actor_id, session in ended:
            self.memory.end_session(actor_id, session)
            self.store.end_session(actor_id, session)

    def raise_if_failed(self) -> None:
        """Raise what ended a writing thread, as when the disk is full."""
        self.store.raise_if_failed()
        self.journal.raise_if_failed()

    def prune_journal(self) -> None:
        """Delete what the dataset has from the journal."""
        self.journal.prune(self.store.committed())


def make_store(config: Config, base: BasePolicy, keep: Keep | None = None) -> LeRobotStore:
    """The run's dataset; `keep`: which episodes it gets, None: all.
    Raises RunError if the observation has too few dimensions to be split."""
    state_dim, gigabytes = config.learner.robot_state_dim, config.learner.replay_max_gb
    spec = experience_spec(config, base)
    if state_dim is not None and state_dim >= base.observation_dim:
        raise RunError(
            f"learner.robot_state_dim must be below the observation dimension {base.observation_dim}, got "
            f"{state_dim}: null keeps the whole observation in observation.state"
        )
    return LeRobotStore(
        config.run_dir / "replay",
        repo_id=config.name,
        observation_dim=base.observation_dim,
        action_dim=base.action_dim,
        fps=config.learner.fps,
        robot_type=config.learner.robot_type,
        task=config.task.env_id,
        queue_episodes=config.learner.store_queue_episodes,
        flush_s=config.learner.store_flush_s,
        state_dim=state_dim,
        budget=Budget(None if gigabytes is None else gigabytes * 1e9, config.learner.replay_max_frames),
        cameras=recorded_cameras(config),
        images=config.learner.record_images,
        optional_columns=spec.optional_columns,
        features_dim=spec.features_dim if config.learner.keep_features else 0,
        keep=keep,
    )


def load_prior(config: Config, base: BasePolicy) -> PriorData | None:
    """Episodes recorded earlier as decisions of the residual that is trained, or None where there are none.
    Raises DemonstrationError, RunError: they are missing, or do not fit."""
    if not config.prior_sources:
        return None
    algo = config.algo
    assert isinstance(algo, AlgoConfig), f"algo={algo.name} learns from no decisions"
    require_prior_sources(config)
    plan_key = msgspec.json.encode(config.base).decode()
    wanted = wanted_by(config)
    sources = config.prior_sources
    return join_prior([read_prior(source, base, plan_key, algo, wanted, config.task) for source in sources])


def make_ring(
    capacity: int, config: Config, base: BasePolicy, *, images: bool = False, optional: Shapes | None = None
) -> Ring:
    """An empty ring for the run's decisions, with the recorded cameras' images if `images`.
    Raises RunError: there is not as much memory."""
    device = config.learner.replay_device
    try:
        return Ring(
            capacity,
            base.observation_dim,
            config.algo.residual_every * base.action_dim,
            device=device,
            cameras=recorded_cameras(config) if images else None,
            optional=optional,
            residual_scale=config.algo.scale,
            features_dim=experience_spec(config, base).features_dim,
        )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise RunError(
            f"no memory on {device} for {capacity} rows of replay ({' '.join(str(error).split())}): "
            "set a lower learner.replay_capacity, or another learner.replay_device"
        ) from error


def make_prior_ring(prior: PriorData, config: Config, base: BasePolicy) -> Ring:
    """Prior data in a ring of its own, which it fills. Pictures go there: `prior` no longer has them."""
    rows = len(prior.columns["frames"]) + len(prior.columns["final_row"])
    plays = config.algo.plays
    ring = make_ring(rows, config, base, images=plays is not None and plays.looks_at is not None)
    if ring.images.nbytes:
        log.info("prior data: %d rows, %.0f MB of them pictures", rows, ring.images.nbytes / 1e6)
    ring.add("prior", prior.columns)
    for name in [each for each in prior.columns if each.startswith((IMAGE_PREFIX, FINAL_IMAGE_PREFIX))]:
        del prior.columns[name]
    return ring
