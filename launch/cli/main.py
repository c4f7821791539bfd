"""The entry point of `residual-rl`: what must be so before anything that takes time is imported."""

import os
import sys
from typing import NoReturn

from config.process import end_on_interrupt, run_main


def main() -> NoReturn:
    """Run the verb that the command line names and end this process with its exit code."""
    end_on_interrupt()
    _prepare_environment()
    from launch.cli.group import run_verb

    run_main(run_verb, log_format=None)


def _prepare_environment() -> None:
    """For this process and those that it starts."""
    from launch.run.folder import ROOT

    # Before h5py is imported: many volumes refuse HDF5's locks.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    # They find our modules from any folder, and take no package of the same name there for ours.
    others = [
        path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(ROOT))
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *others])
    os.environ["PYTHONSAFEPATH"] = "1"
    # Names of files are UTF-8 in all of them, whatever the locale.
    os.environ["PYTHONUTF8"] = "1"
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, sys.orig_argv)
