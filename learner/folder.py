"""A run's folder: made, or found again, and locked for one learner."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from config.files import is_locked, locked, name_holder, require_writable
from config.main import Config
from config.process import UsageError

LAUNCHER, LEARNER = "launch.lock", "lock"
"""Files that whoever works in the folder has locked."""

_ELSEWHERE = "choose another runs_dir=<folder>"


class RunError(UsageError):
    """A run that cannot go on; the message says why and what to do."""


def require_run_dir(config: Config) -> Path:
    """The run's folder, new or that of a run that was stopped. Makes nothing.
    Raises RunError: `resume` does not allow what is in the folder, the run in it has finished, or it cannot
    be written."""
    run_dir = config.run_dir
    try:
        exists, is_over = is_begun(run_dir), (run_dir / "summary.json").exists()
        require_writable(run_dir, folder=True)
    except OSError as error:
        raise _unusable(run_dir, error.strerror) from error
    except UsageError as error:
        raise RunError(f"{error}: {_ELSEWHERE}") from error
    if exists and config.resume == "new":
        raise RunError(f"{run_dir} holds a run already: choose another name=<run>, or resume=auto")
    if not exists and config.resume == "must":
        raise RunError(f"{run_dir} holds no run to resume: correct name=<run>, or resume=auto")
    if is_over:
        raise RunError(f"{run_dir} holds a run that is over: choose another name=<run>")
    return run_dir


def make_run_dir(config: Config) -> Path:
    """The same, made if it is not there. Raises RunError."""
    run_dir = require_run_dir(config)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(run_dir, error.strerror) from error
    return run_dir


def _unusable(run_dir: Path, why: str | None) -> RunError:
    return RunError(f"{run_dir} cannot be used: {why}: {_ELSEWHERE}")


def is_begun(run_dir: Path) -> bool:
    """Whether a learner has ever run in the folder."""
    return (run_dir / "config.yaml").exists()


def has_launcher(run_dir: Path) -> bool:
    """Whether a launcher works in the folder."""
    return is_locked(run_dir / LAUNCHER)


@contextlib.contextmanager
def sole_learner(run_dir: Path) -> Generator[None]:
    """Lock the run's folder: two learners would cut each other's journal.
    Raises RunError: another process has locked it."""
    place = run_dir / LEARNER
    try:
        place.touch()
    except OSError as error:
        raise _unusable(run_dir, error.strerror) from error
    taken = RunError(f"{run_dir} is in use by another learner: choose another name=<run>, or end that one")
    with locked(place, taken):
        name_holder(place)
        yield
