"""Starts the making of demonstrations: of ManiSkill's tasks in the planner's own environment, .venv-demos."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from config.demos import DemosConfig
from config.files import require_writable
from config.process import FailedError, UsageError
from config.tasks import key_of_task, task_file
from launch.demos.dataset import new_dataset, state_dims, task_of
from launch.run.folder import ROOT
from protocol.pictures import depths_in


def make_demos(settings: DemosConfig) -> None:
    """Demonstrations of a task, by its expert or, in another process, its planner.
    Raises UsageError, FailedError: as `demonstrate`, or as `plan_demos`."""
    if depths := depths_in(settings.cameras):
        raise UsageError(f"cameras names {', '.join(depths)}: demonstrations have pictures of colours alone")
    found = task_file(settings.task)
    if found is None or key_of_task(settings.task, "simulator", "maniskill") == "maniskill":
        plan_demos(settings)
    from launch.demos.scripted import demonstrate  # a planner's start needs no torch, nor LeRobot

    demonstrate(settings, task_of(settings))


def plan_demos(settings: DemosConfig) -> NoReturn:
    """Make .venv-demos if it is not there, and become the process that makes the demonstrations.
    Raises:
        UsageError: the folder of demonstrations cannot be written, or as `state_dims`.
        FailedError: the environment could not be made.
        DemonstrationError, TaskError, RenderError: the dataset is there, or its pictures cannot be drawn.
    """
    require_writable(Path(settings.out), folder=True)
    if settings.writes_dataset:
        _require_dataset(settings)
    if subprocess.run(["bash", str(ROOT / "launch/env_demos/setup.sh")], check=False).returncode:
        raise FailedError("no environment for the planner, so no demonstrations (see above)")
    python = str(ROOT / ".venv-demos/bin/python")
    argv = [python, "-m", "launch.demos.make_demos", msgspec.json.encode(settings).decode(), sys.executable]
    os.execv(python, argv)


def _require_dataset(settings: DemosConfig) -> None:
    """Raise what writing the LeRobot dataset would raise after all the planning."""
    new_dataset(Path(settings.out) / settings.task)
    task = task_of(settings)
    state_dims(settings, task)
    if task.cameras:
        from actor.simulators.recorded import RecordedStates

        RecordedStates(task).close()
