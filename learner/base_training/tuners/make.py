"""The tuner of a run's base."""

from actor.policy.contract import CheckpointError
from config.base import BaseConfig, DiffusionBaseConfig, LeRobotBaseConfig
from config.task import TaskConfig
from learner.base_training.tuners.contract import BaseTuner, TunerSettings
from learner.base_training.tuners.diffusion import DiffusionTuner


def make_tuner(base: BaseConfig, task: TaskConfig, settings: TunerSettings) -> BaseTuner:
    """Raises CheckpointError: a base that cannot be read or trained."""
    match base:
        case DiffusionBaseConfig():
            return DiffusionTuner(base, settings)
        case LeRobotBaseConfig():
            from learner.base_training.tuners.lerobot import LeRobotTuner  # importing lerobot takes seconds

            return LeRobotTuner(base, task, settings)
        case _:
            raise CheckpointError(
                f"base={base.__struct_config__.tag} has no weights to train: choose base=diffusion or "
                "base=lerobot"
            )
