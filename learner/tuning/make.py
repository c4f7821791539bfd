"""The parts of a run that trains its base."""

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
from learner.folder import is_begun
from learner.replay.memory.contract import NoMemory
from learner.tuning.algorithm import BaseTuning
from learner.tuning.diverged import explain
from learner.tuning.prior import read_prior_windows
from learner.tuning.schedules import RoundSchedule, SftSchedule
from learner.tuning.successes import Successes


def make_sft(config: Config, algo: SftConfig, base: BasePolicy) -> Training:
    """Raises CheckpointError: a base that cannot be trained. DemonstrationError, RunError: see
    `read_prior_windows`."""
    tuner = _tuner(config, algo, updates=algo.steps)
    prior = read_prior_windows(config, tuner.shape, _dims(base))
    return Training(
        _tuning(config, algo, tuner, round_updates=algo.steps),
        _sampler(config, algo, [Source("learner.demos", prior, 1.0)]),
        SftSchedule(algo, config.learner.total_frames),
        NoMemory(),
        _explained(config),
    )


def make_rejection(config: Config, algo: RejectionConfig, base: BasePolicy) -> Training:
    """Raises as `make_sft`."""
    tuner = _tuner(config, algo, updates=algo.rounds * algo.sft_steps)
    kept, share = EpisodeSet(tuner.shape, *_dims(base)), algo.prior_fraction
    successes = Successes(kept, algo.min_frames)
    sources = [Source("successes of this run", kept, 1 - share)]
    if share:
        sources.append(Source("learner.demos", read_prior_windows(config, tuner.shape, _dims(base)), share))
    return Training(
        _tuning(config, algo, tuner, round_updates=algo.sft_steps),
        _sampler(config, algo, sources),
        RoundSchedule(algo, config.learner.total_frames, successes),
        successes,
        _explained(config),
    )


def require_trainable(config: Config) -> None:
    """Raise CheckpointError if the base cannot be trained, as the learner will find out."""
    make_tuner(config.base, config.task, TunerSettings(1, 0, None, 0.0, config.seed, "cpu"))


def _dims(base: BasePolicy) -> tuple[int, int]:
    return base.observation_dim, base.action_dim


def _tuner(config: Config, algo: TuningConfig, updates: int) -> BaseTuner:
    settings = TunerSettings(
        updates=updates,
        warmup=algo.warmup_steps,
        lr=algo.lr,
        ema_ceiling=algo.ema,
        seed=config.seed,
        device=config.learner.device,
    )
    return make_tuner(config.base, config.task, settings)


def _tuning(config: Config, algo: TuningConfig, tuner: BaseTuner, round_updates: int) -> BaseTuning:
    return BaseTuning(
        tuner,
        publish_every=algo.publish_every_updates,
        round_updates=round_updates,
        is_resumed=is_begun(config.run_dir),
    )


def _sampler(config: Config, algo: TuningConfig, sources: list[Source]) -> WindowSampler:
    return WindowSampler(sources, algo.batch_size, seed=config.seed, device=config.learner.device)


def _explained(config: Config) -> Any:
    return partial(explain, folder=config.run_dir / "checkpoints")
