"""The parts of a run that trains its base."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from actor.policy.contract import BasePolicy
from config.main import Config
from config.tuning import RejectionConfig, SftConfig, TuningConfig
from learner.algorithms.contract import Training
from learner.base_training.episodes import EpisodeSet
from learner.base_training.sampler import Source, WindowSampler
from learner.base_training.tuners.contract import BaseTuner, TunerSettings
from learner.base_training.tuners.make import make_tuner
from learner.folder import RunError
from learner.replay.dataset.episode import Lane
from learner.replay.memory.contract import NoMemory
from learner.tuning.algorithm import BaseTuning
from learner.tuning.diverged import explain
from learner.tuning.prior import read_prior_windows
from learner.tuning.schedules import RoundSchedule, SftSchedule
from learner.tuning.successes import Successes


def make_tuning(config: Config, algo: TuningConfig, base: BasePolicy, done: Mapping[Lane, int]) -> Training:
    """
    Args:
        done: how many episodes of each lane the run's dataset has.

    Raises:
        CheckpointError: a base that cannot be trained.
        DemonstrationError, RunError: prior data that does not fit, or several processes of the learner.
    """
    if config.learner.processes > 1:
        raise RunError(f"algo={algo.name} trains in one process: set learner.processes=1")
    match algo:
        case SftConfig():
            return _make_sft(config, algo, base)
        case RejectionConfig():
            return _make_rejection(config, algo, base, done)
        case _:
            raise TypeError(f"no training of a base for {algo!r}")


def _make_sft(config: Config, algo: SftConfig, base: BasePolicy) -> Training:
    tuner = make_tuner(config.base, config.task, _settings(config, algo, algo.steps))
    prior = read_prior_windows(config, tuner.shape, (base.observation_dim, base.action_dim))
    batches = _sampler(config, algo, [Source("learner.demos", prior, 1.0)])
    algorithm = BaseTuning(tuner, publish_every=algo.publish_every_updates, round_updates=algo.steps)
    schedule = SftSchedule(algo, config.learner.total_frames)
    return Training(algorithm, batches, schedule, NoMemory(), _explained(config))


def _make_rejection(
    config: Config, algo: RejectionConfig, base: BasePolicy, done: Mapping[Lane, int]
) -> Training:
    tuner = make_tuner(config.base, config.task, _settings(config, algo, algo.rounds * algo.sft_steps))
    dims = base.observation_dim, base.action_dim
    kept = EpisodeSet(tuner.shape, *dims)
    successes = Successes(kept, min_frames=algo.min_frames, done=done)
    share = algo.prior_fraction
    sources = [Source("successes of this run", kept, 1 - share)]
    if share > 0:
        sources.append(Source("learner.demos", read_prior_windows(config, tuner.shape, dims), share))
    batches = _sampler(config, algo, sources)
    algorithm = BaseTuning(tuner, publish_every=algo.publish_every_updates, round_updates=algo.sft_steps)
    schedule = RoundSchedule(algo, config.learner.total_frames, successes)
    return Training(algorithm, batches, schedule, successes, _explained(config))


def _settings(config: Config, algo: TuningConfig, updates: int) -> TunerSettings:
    return TunerSettings(
        updates=updates,
        warmup=algo.warmup_steps,
        lr=algo.lr,
        ema_ceiling=algo.ema_ceiling,
        seed=config.seed,
        device=config.learner.device,
    )


def _sampler(config: Config, algo: TuningConfig, sources: list[Source]) -> WindowSampler:
    return WindowSampler(sources, algo.batch_size, seed=config.seed, device=config.learner.device)


def _explained(config: Config) -> Any:
    return partial(explain, folder=config.run_dir / "checkpoints")
