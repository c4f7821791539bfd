"""Starts the making of demonstrations in the planner's own environment, .venv-demos."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from config.demos import DemosConfig
from config.files import require_writable
from config.process import FailedError
from launch.run.folder import ROOT


def make_demos(settings: DemosConfig) -> NoReturn:
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
