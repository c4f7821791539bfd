"""Starts the making of demonstrations in the planner's own environment, .venv-demos."""

import os
import subprocess
import sys
from typing import NoReturn

import msgspec

from config.demos import DemosConfig
from config.process import FailedError
from launch.run.folder import ROOT


def make_demos(settings: DemosConfig) -> NoReturn:
    """Make .venv-demos if it is not there, and become the process that makes the demonstrations.
    Raises FailedError: the environment could not be made."""
    if subprocess.run(["bash", str(ROOT / "launch/env_demos/setup.sh")], check=False).returncode:
        raise FailedError("no environment for the planner, so no demonstrations (see above)")
    python = str(ROOT / ".venv-demos/bin/python")
    argv = [python, "-m", "launch.demos.make_demos", msgspec.json.encode(settings).decode(), sys.executable]
    os.execv(python, argv)
