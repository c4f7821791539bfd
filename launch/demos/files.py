"""Files of demonstrations: as a LeRobot dataset, or cut to what training needs."""

import json
from pathlib import Path

import datasets

from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.maniskill import read_maniskill, write_maniskill

ROBOT, FPS = "panda", 20


def to_lerobot(source: Path, target: Path) -> None:
    """Write all episodes of a ManiSkill h5 as a LeRobot v3.0 dataset with reward, done and success.
    Raises DemonstrationError: `source` cannot be read, or `target` cannot be written."""
    datasets.disable_progress_bars()  # LeRobot shows two an episode
    write_lerobot(target, read_maniskill(source), task=_task(source), robot_type=ROBOT, fps=FPS)


def pack(source: Path, target: Path, episodes: int | None) -> None:
    """Write the first `episodes` of a ManiSkill h5, or all, each cut at its first success.
    Raises DemonstrationError: `source` cannot be read."""
    write_maniskill(target, [episode.cut_at_success() for episode in read_maniskill(source, episodes)])


def _task(source: Path) -> str:
    """The task's name from the json beside, else the folder's."""
    described = source.with_suffix(".json")
    if described.is_file():
        return json.loads(described.read_text())["env_info"]["env_id"]
    return source.parent.name
