"""What settings of demonstrations say of the LeRobot dataset beside the h5."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from config.compose import compose_config
from config.demos import DemosConfig
from config.process import UsageError
from config.task import TaskConfig
from config.tasks import task_file

log = logging.getLogger("demos")

TRAINING = "config/lerobot_train/sees.yaml"
"""What lerobot-train is given to train a base on pictures."""


def task_of(settings: DemosConfig) -> TaskConfig:
    """The task with the cameras whose pictures the dataset has."""
    found = task_file(settings.task)
    words = [f"task={found}" if found else f"task.env_id={settings.task}"]
    words.append(f"task.cameras=[{','.join(settings.cameras)}]")
    if settings.camera_size is not None:
        words.append(f"task.camera_size={[*settings.camera_size]}")
    return compose_config(words).task


def state_dims(settings: DemosConfig, task: TaskConfig) -> Sequence[int] | None:
    """Dimensions of the observation that observation.state has; None: all.
    Raises UsageError: the task does not say which are the robot's."""
    if settings.state == "all":
        return None
    ranges = task.proprioception.get(task.env_id, ())
    if not ranges:
        raise UsageError(
            f"state=proprioception: task.proprioception names no part of {task.env_id}: set it in the task's "
            "file, or use state=all"
        )
    return [dim for first, end in ranges for dim in range(first, end)]


def new_dataset(folder: Path) -> Path:
    """Where the dataset goes. Raises DemonstrationError: one is there already."""
    from learner.replay.prior.lerobot import require_new  # importing lerobot takes seconds

    require_new(folder / "lerobot")
    return folder / "lerobot"


def say_dataset(dataset: Path, *, pictures: bool) -> None:
    """Log where the dataset is, and how a base is trained on it."""
    log.info("as a LeRobot dataset: %s", dataset)
    if pictures:
        root = shlex.quote(f"--dataset.root={dataset}")
        log.info("train a base that sees on it: lerobot-train --config_path=%s %s", TRAINING, root)
