"""ManiSkill h5 -> LeRobot v3.0 with reward, done, success: python -m launch.demos_to_lerobot SRC.h5 DST"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets

from learner.replay.demonstrations import DemonstrationError, read_maniskill
from learner.replay.lerobot_demonstrations import write_lerobot

ROBOT, FPS = "panda", 20


def main(words: list[str]) -> int:
    """Write all episodes of SRC.h5 to the folder DST; returns the exit code."""
    if len(words) != 2 or "--help" in words:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    source, target = Path(words[0]), Path(words[1])
    datasets.disable_progress_bars()  # LeRobot shows two an episode
    try:
        episodes = read_maniskill(source)
        write_lerobot(target, episodes, task=_task(source), robot_type=ROBOT, fps=FPS)
    except DemonstrationError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{len(episodes)} episodes: {target}\n")
    return 0


def _task(source: Path) -> str:
    """The task's name from the json beside, else the folder's."""
    described = source.with_suffix(".json")
    if described.is_file():
        return json.loads(described.read_text())["env_info"]["env_id"]
    return source.parent.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
