"""The parts of a run with ppo or grpo."""

from functools import partial
from pathlib import Path

from torch import Tensor

from actor.policy.contract import BasePolicy
from config.main import Config
from config.on_policy import GrpoConfig, PpoConfig
from learner.algorithms.contract import Training
from learner.algorithms.finite import NonFinite
from learner.on_policy.algorithm import OnPolicy
from learner.on_policy.batches import Minibatches
from learner.on_policy.collector import Collector
from learner.on_policy.grpo import GRPO
from learner.on_policy.ppo import PPO
from learner.on_policy.schedule import AfterEachBatch, BatchSchedule


def make_ppo(config: Config, algo: PpoConfig, base: BasePolicy) -> Training:
    """PPO on a frozen base, or from nothing."""
    sizes = base.observation_dim, base.action_dim
    return _around(config, PPO(algo, *sizes, seed=config.seed, device=config.learner.device))


def make_grpo(config: Config, algo: GrpoConfig, base: BasePolicy) -> Training:
    """GRPO on a frozen base, or from nothing."""
    sizes = base.observation_dim, base.action_dim
    return _around(config, GRPO(algo, *sizes, seed=config.seed, device=config.learner.device))


def _around(config: Config, algorithm: OnPolicy) -> Training:
    algo = algorithm.algo
    collector = Collector(algo, config.actor.count * config.actor.num_envs)
    batches = Minibatches(algo, algorithm, collector, seed=config.seed)
    return Training(
        algorithm,
        batches,
        BatchSchedule(algorithm, batches, collector, config.learner.total_frames),
        collector,
        partial(_explain, folder=config.run_dir / "checkpoints"),
        publications=AfterEachBatch(batches, collector),
    )


def _explain(step: NonFinite, drawn: dict[str, Tensor], folder: Path) -> str:
    """One line on a step that was not finite."""
    largest = {name: values.abs().max().item() for name, values in drawn.items()}
    name = max(largest, key=lambda name: largest[name])
    go_on = "from the last checkpoint" if (folder / "training.pt").exists() else "with new networks"
    return (
        f"{step}; the step was not made, all weights are finite; the batch's largest value is "
        f"{largest[name]:g}, of {name}. Lower algo.lr; the same command then goes on {go_on}"
    )
