"""Files of demonstrations: as a LeRobot dataset, or cut to what training needs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import datasets

from config.task import TaskConfig
from config.tasks import key_of_task
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.read import Wanted, read_demonstrations


def to_lerobot(source: Path, target: Path, *, last_frame_succeeds: bool) -> None:
    """Write all demonstrations of `source` as a LeRobot v3.0 dataset with reward, done and success.
    Raises DemonstrationError: `source` cannot be read, or `target` cannot be written."""
    datasets.disable_progress_bars()  # LeRobot shows two an episode
    read = read_demonstrations(source, _wanted(None, last_frame_succeeds))
    # Without a json beside it, the folder's name is the best guess.
    task = read.origin.env_id or source.resolve().parent.name
    robot, fps = key_of_task(task, "robot_type", "panda"), int(key_of_task(task, "fps", "20"))
    write_lerobot(target, read.episodes, task=task, robot_type=robot, fps=fps)


def write_played(
    target: Path, episodes: Iterable[Demonstration], task: TaskConfig, state: Sequence[int] | None
) -> list[Demonstration]:
    """Write `episodes` as a LeRobot v3.0 dataset while they are played; returns them without their pictures.

    Args:
        state: as of `write_lerobot`.

    Raises DemonstrationError: as `write_lerobot`."""
    datasets.disable_progress_bars()  # LeRobot shows two an episode
    kept = list[Demonstration]()

    def passing() -> Iterator[Demonstration]:
        for episode in episodes:
            kept.append(replace(episode, pictures={}))
            yield episode

    write_lerobot(target, passing(), task=task.env_id, robot_type=task.robot_type, fps=task.fps, state=state)
    return kept


def pack(source: Path, target: Path, episodes: int | None, *, last_frame_succeeds: bool) -> None:
    """Write the first `episodes` demonstrations of `source`, or all, each cut at its first success, as a
    ManiSkill h5.
    Raises DemonstrationError: `source` cannot be read."""
    read = read_demonstrations(source, _wanted(episodes, last_frame_succeeds))
    write_maniskill(target, [episode.cut_at_success() for episode in read.episodes], read.origin)


def _wanted(limit: int | None, last_frame_succeeds: bool) -> Wanted:
    return Wanted(
        limit=limit,
        last_frame_succeeds=last_frame_succeeds,
        success_allowed_by="--without-success last_frame",
    )
