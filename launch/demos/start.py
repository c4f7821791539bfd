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
from config.process import FailedError, UsageError
from config.tasks import key_of_task, task_file
from launch.demos.experts import EXPERTS
from launch.run.folder import ROOT
from protocol.pictures import depths_in


def make_demos(settings: DemosConfig) -> None:
    """Demonstrations of a task, by its expert or, in another process, its planner.
    Raises UsageError, FailedError: as `demonstrate`, or as `plan_demos`."""
    if depths := depths_in(settings.cameras):
        raise UsageError(f"cameras names {', '.join(depths)}: demonstrations have pictures of colours alone")
    found = task_file(settings.task)
    if found is None or key_of_task(settings.task, "simulator", "maniskill") == "maniskill":
        _require_plain(settings)
        plan_demos(settings)
    from launch.demos.scripted import demonstrate  # a planner's start needs no torch, nor LeRobot

    words = [f"task={found}", f"task.cameras=[{','.join(settings.cameras)}]"]
    if settings.camera_size is not None:
        words.append(f"task.camera_size={[*settings.camera_size]}")
    demonstrate(settings, compose_config(words).task)


def _require_plain(settings: DemosConfig) -> None:
    """Raise UsageError for what a planner's demonstrations do not have."""
    if settings.cameras or settings.state != "all":
        key = f"cameras=[{','.join(settings.cameras)}]" if settings.cameras else f"state={settings.state}"
        raise UsageError(
            f"{key}: demonstrations of {settings.task} are ManiSkill h5 files, which have states and no "
            f"pictures; tasks of scripted experts have both: {', '.join(EXPERTS)}"
        )


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
