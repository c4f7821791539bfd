"""Which process works in a run's folder, and how to stop it: the lock files name it."""

import contextlib
import os
import signal
import socket
from pathlib import Path

from config.files import is_locked
from config.process import UsageError
from learner.folder import LAUNCHER, LEARNER


def is_alive(run_dir: Path) -> bool:
    """Whether a launcher or a learner works in the folder."""
    return any(is_locked(run_dir / name) for name in (LAUNCHER, LEARNER))


def stop(run_dir: Path) -> int:
    """Ask the run's launcher, or a learner without one, to end, as Ctrl-C does; returns its process id.
    Raises UsageError: nobody runs, or it cannot be reached from here."""
    held = [name for name in (LAUNCHER, LEARNER) if is_locked(run_dir / name)]
    if not held:
        raise UsageError(f"{run_dir} is used by no launcher and no learner: nothing to stop")
    process, host = _holder(run_dir / held[0])
    if process is None:
        raise UsageError(
            f"{run_dir / held[0]} does not say which process works here: stop it where it was started"
        )
    if host != socket.gethostname():
        raise UsageError(f"process {process} of {run_dir} is on {host}: stop it there")
    try:
        os.kill(process, signal.SIGINT)
    except OSError as error:
        raise UsageError(
            f"process {process} of {run_dir} cannot be stopped from here: {error.strerror}"
        ) from error
    return process


def _holder(path: Path) -> tuple[int | None, str]:
    """(process id, host) that `config.files.name_holder` wrote."""
    with contextlib.suppress(OSError, ValueError):
        process, host = path.read_text().split()
        return int(process), host
    return None, ""
