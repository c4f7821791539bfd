"""Before a pod is stopped: ends the runs and saves what is nowhere else. Each step says what it could not."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from config.files import locked
from config.process import DONE, FAILED, UsageError, run_main
from launch.pod.commits import save_commits
from launch.pod.copies import copy_runs, pack_runs
from launch.pod.offline import sync_offline
from launch.run.folder import ROOT
from launch.run.holder import is_alive, stop

log = logging.getLogger("save")

# A launcher ends within ten seconds; the film that it may be making is one more process to end.
STOP_S = 30.0


def stop_runs(runs: Path, patience_s: float = STOP_S) -> bool:
    """Ask whoever works in a run's folder below `runs` to end, and wait for it. Returns whether nobody
    works there."""
    asked: list[Path] = []
    for run_dir in _alive(runs):
        try:
            stop(run_dir)
            asked.append(run_dir)
        except UsageError as error:
            log.warning("not stopped: %s", error)
    deadline_s = time.monotonic() + patience_s
    while any(map(is_alive, asked)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    left = _alive(runs)
    for run_dir in left:
        log.warning("%s still runs: its newest files are not saved, or not whole", run_dir)
    for run_dir in asked:
        if run_dir not in left:
            log.info("stopped %s", run_dir)
    return not left


def _alive(runs: Path) -> list[Path]:
    return [run_dir for run_dir in sorted(runs.glob("*/")) if is_alive(run_dir)]


def save(root: Path, place: Path, to: str | None) -> bool:
    """All steps, each whatever became of the others.

    Args:
        root: the project.
        place: where bundles and archives are kept.
        to: a folder, or host:folder, that gets runs and bundles; None: runs are packed into `place`.

    Returns:
        Whether everything was saved.
    """
    runs, commits = root / "runs", place / "commits"
    steps: dict[str, Callable[[], bool]] = {
        "stop the runs": lambda: stop_runs(runs),
        "save the commits": lambda: save_commits(root, commits),
        "send to W&B": lambda: sync_offline(root, runs),
        "save the runs": lambda: pack_runs(runs, place) if to is None else copy_runs([runs, commits], to),
    }
    saved = [_whole(what, step) for what, step in steps.items()]
    return all(saved)


def _whole(what: str, step: Callable[[], bool]) -> bool:
    try:
        return step()
    except OSError as error:  # a full disk, a program that is missing
        log.warning("could not %s: %s", what, error)
        return False


def main(argv: list[str]) -> int:
    place = Path(os.environ["VOLUME"]) / "saved" / ROOT.name
    place.mkdir(parents=True, exist_ok=True)
    with locked(place, UsageError(f"another save.sh is at work in {place}: wait for its end")):
        whole = save(ROOT, place, os.environ.get("SAVE_TO") or None)
    log.info("everything is saved" if whole else "not everything is saved: see the warnings")
    return DONE if whole else FAILED


if __name__ == "__main__":
    run_main(main, log_format="save | %(message)s")
