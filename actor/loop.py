"""run_actor: simulate with the newest weights and send what happened."""

import logging
import os
import threading
import time
from pathlib import Path

import torch

from actor.interventions.contract import ActionSource
from actor.interventions.make import make_source
from actor.interventions.marked import MarkedEnvironment
from actor.interventions.takeover import Takeover
from actor.interventions.whole_episodes import WholeEpisodes
from actor.link.uplink import Uplink
from actor.link.weights import adopt_newest
from actor.policy.contract import BasePolicy
from actor.policy.decorated import DecoratedPolicy, EvaluatedPolicy
from actor.policy.device import require_devices
from actor.policy.from_run import with_residual
from actor.policy.make import check_base_fits, make_base
from actor.policy.sampled import SampledPolicy
from actor.policy.spec import experience_spec
from actor.policy.steered import SteeredPolicy
from actor.policy.trainable import most_bytes
from actor.rollout import Rollout
from actor.rollout_around import RolloutAround
from actor.rounds import DecisionRounds, EpisodeRounds
from actor.simulators.adapters import require_task
from actor.simulators.contract import TaskError, VectorEnvironment
from actor.simulators.make import make_environment
from actor.simulators.paced import PacedEnvironment
from actor.simulators.pictured import PicturedEnvironment
from actor.simulators.processes import part_of_processors
from config.actor import PICTURES_FOLDER, ActorConfig
from config.main import Config
from config.on_policy import GrpoConfig, OnPolicyConfig
from protocol.messages import ExperienceSpec

log = logging.getLogger(__name__)

# Distance between the first seeds of two actors: no two play the same episodes in a run of useful length.
SEEDS_PER_ACTOR = 10_000_000

# Between two looks at what is due while there is nothing to simulate.
_WAIT_S = 0.05

POLICIES = {
    "exploring": DecoratedPolicy,
    "steering": SteeredPolicy,
    "sampling": SampledPolicy,
    "best": EvaluatedPolicy,
}
"""Who acts, by `AlgorithmConfig.decides`."""


def run_actor(config: Config, stop: threading.Event) -> None:
    """Run until the learner says that the run is over, or `stop` is set.

    Raises:
        CheckpointError, ConfigError, DeviceError, TaskError: base, task and machine do not fit.
        UplinkError: the learner refused this actor, or none answered.
        SpoolError: a spool that cannot be written.
    """
    config = with_residual(config)
    prepare_process(config)
    run_with_base(config, make_base(config.base, config.task, config.actor.device), stop)


def prepare_process(config: Config) -> None:
    """What comes before the base.
    Raises DeviceError, TaskError: task and machine do not fit."""
    os.nice(config.actor.nice)
    torch.set_num_threads(config.actor.threads)
    require_devices(config.actor)
    require_task(config.task, draws=config.actor.shown is not None)


def run_with_base(config: Config, base: BasePolicy, stop: threading.Event) -> None:
    """As `run_actor`, in a prepared process."""
    settings = config.actor
    spec = experience_spec(config, base)
    rows = rows_in_a_message(config, spec)
    processes = settings.processes or part_of_processors(settings.count)
    seed = first_seed(config, 0)
    # While the learner starts, and before this process has sockets, which have threads: see `start_method`.
    envs = make_environment(
        config.task,
        settings.backend,
        settings.num_envs,
        seed,
        processes,
        picture=settings.shown,
        device=settings.device,
        alike=group_size(config),
    )
    try:
        envs = shown(config, envs)
        check_base_fits(base, envs.observation_dim, envs.action_dim, config.base.path)
        room = most_bytes(base) if config.algo.trains_base else 0
        uplink = make_uplink(config, spec, stop, room)
        try:
            uplink.connect()
            uplink.pump()
            progress = uplink.progress
            seed = first_seed(config, 0 if progress is None else progress.decisions)
            source = make_source(config, envs, seed)
            try:
                policy = make_policy(config, base, envs, source, seed)
                if config.algo.decides != "exploring":
                    wait_for_weights(uplink, policy, stop)
                rollout = make_rollout(config, policy, envs, source, spec, seed)
                simulate(rollout, policy, uplink, rows, stop, patience_s=config.wire.lease_s)
            finally:
                if source is not None:
                    source.close()
        finally:
            uplink.close()
    finally:
        envs.close()


def make_policy(
    config: Config, base: BasePolicy, envs: VectorEnvironment, source: ActionSource | None, seed: int
) -> DecoratedPolicy | Takeover:
    """Who acts in `envs`. `source`: who may act instead of the policy."""
    policy = POLICIES[config.algo.decides].of(config, base, num_envs=envs.num_envs, first_seed=seed)
    return policy if source is None else Takeover(policy, source, config.algo.scale)


def make_rollout(
    config: Config,
    policy: DecoratedPolicy | Takeover,
    envs: VectorEnvironment,
    source: ActionSource | None,
    spec: ExperienceSpec,
    seed: int,
) -> Rollout | RolloutAround:
    """What collects what happens."""
    if source is None:
        rollout = Rollout(envs, policy, spec, seed)
        return in_rounds(config, rollout, policy) if isinstance(policy, SampledPolicy) else rollout
    marked = MarkedEnvironment(envs, source)
    rollout = Rollout(marked, policy, spec, seed)
    return WholeEpisodes(rollout, marked, spec) if source.marks_episodes else rollout


def in_rounds(config: Config, rollout: Rollout, policy: SampledPolicy) -> DecisionRounds:
    """`rollout`, which waits for newer weights as the algorithm wants it."""
    assert isinstance(config.algo, OnPolicyConfig)
    kind = {"decisions": DecisionRounds, "episodes": EpisodeRounds}[config.algo.rounds_of]
    return kind(rollout, policy, config.algo.max_version_lag)


def group_size(config: Config) -> int:
    """Sub-environments that play the same seeds."""
    return config.algo.group_size if isinstance(config.algo, GrpoConfig) else 1


def shown(config: Config, envs: VectorEnvironment) -> VectorEnvironment:
    """`envs`, as fast and as visible as whoever drives them needs."""
    if config.actor.shown is not None:
        envs = PicturedEnvironment(envs, config.run_dir / PICTURES_FOLDER / f"{name_of(config.actor)}.jpg")
    return PacedEnvironment(envs, config.learner.fps) if config.actor.paced else envs


def first_seed(config: Config, decisions: int) -> int:
    """Seed of the first episode: another one for each of a run's actors and for each run's seed.

    Args:
        decisions: that the learner has of all actors. No actor has played more episodes, so one that is
            started again plays none a second time.
    """
    seed = ((config.seed * 97 + config.actor.index + 1) * SEEDS_PER_ACTOR + decisions) % 2**31
    return seed - seed % group_size(config)


def make_uplink(config: Config, spec: ExperienceSpec, stop: threading.Event, most_base_bytes: int) -> Uplink:
    """This actor's side of the wire, not yet connected."""
    settings = config.actor
    return Uplink(
        config.wire,
        actor_id=name_of(settings),
        role="actor",
        spec=spec,
        stop=stop,
        spool=None if settings.spool is None else Path(settings.spool),
        most_base_bytes=most_base_bytes,
    )


def name_of(settings: ActorConfig) -> str:
    """The same after a restart."""
    return settings.id or f"actor-{settings.index}"


def rows_in_a_message(config: Config, spec: ExperienceSpec) -> int:
    """actor.rows_per_batch, or as many as fit where rows with images are large.
    Raises TaskError: not even those of one step of all sub-environments fit."""
    # A message is sent once it has enough rows: the last step may add one of each sub-environment.
    room = config.wire.max_message_bytes // spec.row_bytes - config.actor.num_envs
    if room < 1:
        raise TaskError(
            f"rows of {spec.row_bytes} bytes with task.cameras, task.camera_size of {config.actor.num_envs} "
            f"sub-environments exceed wire.max_message_bytes={config.wire.max_message_bytes}: raise it, "
            "or make the images smaller"
        )
    return min(config.actor.rows_per_batch, room)


def wait_for_weights(uplink: Uplink, policy: DecoratedPolicy | Takeover, stop: threading.Event) -> None:
    """Until the first weights are adopted, the run is over, or `stop` is set."""
    while adopt_newest(uplink, policy) is None and not is_over(uplink) and not stop.wait(0.02):
        uplink.pump()


def is_over(uplink: Uplink) -> bool:
    """Whether the learner needs no more experience."""
    return uplink.progress is not None and (uplink.progress.evaluate or uplink.progress.finished)


def simulate(
    rollout: Rollout | RolloutAround,
    policy: DecoratedPolicy | Takeover,
    uplink: Uplink,
    rows_per_batch: int,
    stop: threading.Event,
    *,
    patience_s: float,
) -> None:
    """Step, send and adopt until the run is over.

    Args:
        patience_s: how long to wait for newer weights where rounds are played. Another actor may have left
            in the middle of its round: what the learner misses is then played here.
    """
    started, waiting_since = time.monotonic(), None

    def figures() -> dict[str, float]:
        return {
            "frames": float(rollout.frames),
            "frames_per_s": rollout.frames / (time.monotonic() - started),
            "episodes": float(rollout.episodes),
            "version": float(policy.weights_version),
            "base_version": float(policy.base_version),
            "sub_envs": float(rollout.sub_envs),
        }

    while not stop.is_set():
        if rollout.takes_weights and adopt_newest(uplink, policy) is not None:
            uplink.hasten_heartbeat()
            uplink.pump(figures())
        if rollout.waits:
            waiting_since = waiting_since or time.monotonic()
            if rollout.rows:
                uplink.send(rollout.take())
            uplink.wait(_WAIT_S)
            if time.monotonic() - waiting_since > patience_s:
                rollout.go_on()
        else:
            waiting_since = None
            rollout.step()
        while rollout.rows >= rows_per_batch:  # several times after a whole episode
            uplink.send(rollout.take(rows_per_batch))
        uplink.pump(figures())
        if is_over(uplink):
            log.info("the learner has what it needs: %d frames simulated here", rollout.frames)
            return
