"""ManiSkill h5 -> LeRobot v3.0 with reward, done, success: python -m launch.demos.to_lerobot SRC.h5 DST"""

import argparse
import json
import sys
from pathlib import Path

import datasets

from config.process import run_main
from learner.replay.prior.demonstration import DemonstrationError
from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.maniskill import read_maniskill

ROBOT, FPS = "panda", 20


def main(argv: list[str]) -> int:
    """Write all episodes of SRC.h5 to the folder DST; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m launch.demos.to_lerobot", description=__doc__)
    parser.add_argument("source", type=Path, metavar="SRC.h5", help="a trajectory file")
    parser.add_argument("target", type=Path, metavar="DST", help="folder of the new dataset")
    args = parser.parse_args(argv)
    source, target = args.source, args.target
    datasets.disable_progress_bars()  # LeRobot shows two an episode
    episodes = read_maniskill(source)
    write_lerobot(target, episodes, task=_task(source), robot_type=ROBOT, fps=FPS)
    sys.stdout.write(f"{len(episodes)} episodes: {target}\n")
    return 0


def _task(source: Path) -> str:
    """The task's name from the json beside, else the folder's."""
    described = source.with_suffix(".json")
    if described.is_file():
        return json.loads(described.read_text())["env_info"]["env_id"]
    return source.parent.name


if __name__ == "__main__":
    run_main(main, DemonstrationError)
