"""What a run's algorithm is made of, chosen by the kind of `config.algo`."""

import logging
from functools import partial

import msgspec

from actor.policy.contract import BasePolicy
from actor.policy.spec import experience_spec
from config.algo import AlgoConfig
from config.collect import CollectConfig
from config.limits import usable_memory
from config.main import AnyAlgorithm, Config
from config.on_policy import GrpoConfig, PpoConfig
from config.process import UsageError
from config.tuning import RejectionConfig, SftConfig
from learner.algorithms.contract import Algorithm, MakesTraining, Training
from learner.algorithms.residual_sac import ResidualSAC
from learner.collection import make_collection
from learner.diverged import explain
from learner.on_policy.make import make_grpo, make_ppo
from learner.ranks.ranks import Ranks
from learner.replay.memory.batches import Batches
from learner.replay.memory.columns import optional_shapes
from learner.replay.memory.hindsight import Hindsight
from learner.replay.memory.prefetched import Prefetched
from learner.replay.memory.ring import Ring
from learner.replay.restore.memory import RingMemory
from learner.replay.run import load_prior, make_prior_ring, make_ring
from learner.schedule.pace import Pace
from learner.tuning.make import make_rejection, make_sft
from protocol.experience import ExperienceSpec

log = logging.getLogger(__name__)


def make_training(config: Config, base: BasePolicy, ranks: Ranks) -> Training:
    """The parts of the run's algorithm, as at the start of a run.
    Raises DemonstrationError, RunError, UsageError: data that is missing or does not fit, or several ranks
    for an algorithm that cannot share its updates."""
    if ranks.size > 1:
        require_shared_updates(config.algo)
    if isinstance(config.algo, MakesTraining):
        return config.algo.make_training(config, base)
    match config.algo:
        case AlgoConfig() as algo:
            return make_residual(config, algo, base, ranks)
        case CollectConfig() as algo:
            return make_collection(config, algo, base)
        case SftConfig() as algo:
            return make_sft(config, algo, base)
        case RejectionConfig() as algo:
            return make_rejection(config, algo, base)
        case PpoConfig() as algo:
            return make_ppo(config, algo, base)
        case GrpoConfig() as algo:
            return make_grpo(config, algo, base)
        case _:
            raise TypeError(f"no algorithm for {config.algo!r}")


def sizes_in(spec: ExperienceSpec) -> tuple[int, int, int]:
    """What networks need to know of the experience: observation_dim, action_dim, features_dim."""
    return spec.observation_dim, spec.action_dim, spec.features_dim


def make_algorithm(
    algo: AnyAlgorithm, sizes: tuple[int, int, int], *, seed: int, device: str, ranks: Ranks
) -> Algorithm:
    """The networks of an algorithm whose updates ranks share. `sizes`: see `sizes_in`."""
    algo = require_shared_updates(algo)
    return ResidualSAC(algo, *sizes, seed=seed, device=device, ranks=ranks)


def require_shared_updates(algo: AnyAlgorithm) -> AlgoConfig:
    """Raise UsageError for an algorithm whose updates several processes cannot share."""
    if not isinstance(algo, AlgoConfig) or isinstance(algo, MakesTraining):
        raise UsageError(f"algo={algo.name} works in one process: set learner.processes=1")
    return algo


def make_residual(
    config: Config,
    algo: AlgoConfig,
    base: BasePolicy,
    ranks: Ranks,
    kind: type[ResidualSAC] = ResidualSAC,
) -> Training:
    """The parts of a residual's training; `kind` has its networks and makes the updates."""
    device, spec = config.learner.device, experience_spec(config, base)
    prior = load_prior(config, base)
    prior_ring = None if prior is None else make_prior_ring(prior, config, base)
    algorithm = kind(algo, *sizes_in(spec), seed=config.seed, device=device, ranks=ranks)
    if prior_ring is not None and algo.scale_observations != "off":
        algorithm.scale_observations(prior_ring.observation)
    ring = _make_ring(config, base)
    joint = msgspec.structs.replace(algo, batch_size=algo.batch_size * ranks.size)
    batches = Batches(
        joint, ring, prior_ring, seed=config.seed, device=device, hindsight=_make_hindsight(config)
    )
    return Training(
        algorithm,
        batches if algo.looks_at is None else Prefetched(batches),
        Pace(algo, config.learner.max_updates_behind, config.learner.total_frames, lambda: ring.lost),
        RingMemory(ring),
        partial(explain, config=config, spec=spec, prior=prior),
        {"prior_clipped_share": None if prior is None else prior.clipped_share},
    )


def _make_hindsight(config: Config) -> Hindsight | None:
    goal, goals = config.task.goal, config.learner.hindsight_goals
    return Hindsight(goal, goals) if goal is not None and goals else None


def _make_ring(config: Config, base: BasePolicy) -> Ring:
    settings = config.learner
    optional = optional_shapes(experience_spec(config, base))
    images = settings.replay_images or (
        config.algo.plays is not None and config.algo.plays.looks_at is not None
    )
    ring = make_ring(settings.replay_capacity, config, base, images=images, optional=optional)
    log.info("replay: %d rows planned, %.0f MB in memory", ring.capacity, ring.nbytes / 1e6)
    available = usable_memory()
    if settings.replay_device == "cpu" and available is not None and ring.nbytes > available:
        log.warning(
            "this host or container allows %.0f MB: the learner is killed when that is full; set a lower "
            "learner.replay_capacity", available / 1e6,
        )  # fmt: skip
    return ring
