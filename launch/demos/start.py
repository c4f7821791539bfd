"""Starts the making of demonstrations: of ManiSkill's tasks in the planner's own environment, .venv-demos."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from config.compose import compose_config
from config.demos import DemosConfig
from config.files import require_writable
from config.process import FailedError
from config.tasks import key_of_task, task_file
from launch.run.folder import ROOT


def make_demos(settings: DemosConfig) -> None:
    """Demonstrations of a task, by its expert or, in another process, its planner.
    Raises UsageError, FailedError: as `demonstrate`, or as `plan_demos`."""
    found = task_file(settings.task)
    if found is None or key_of_task(settings.task, "simulator", "maniskill") == "maniskill":
        plan_demos(settings)
    from launch.demos.files import to_lerobot  # a planner's start needs no torch, nor LeRobot
    from launch.demos.scripted import demonstrate

    path = demonstrate(settings, compose_config([f"task={found}"]).task)
    if settings.lerobot:
        to_lerobot(path, path.parent / "lerobot", last_frame_succeeds=False)


def plan_demos(settings: DemosConfig) -> NoReturn:
    """Make .venv-demos if it is not there, and become the process that makes the demonstrations.
    Raises:
        UsageError: the folder of demonstrations cannot be written.
        FailedError: the environment could not be made.
    """
    require_writable(Path(settings.out), folder=True)
    if subprocess.run(["bash", str(ROOT / "launch/env_demos/setup.sh")], check=False).returncode:
        raise FailedError("no environment for the planner, so no demonstrations (see above)")
    python = str(ROOT / ".venv-demos/bin/python")
    argv = [python, "-m", "launch.demos.make_demos", msgspec.json.encode(settings).decode(), sys.executable]
    os.execv(python, argv)
