"""What `residual-rl replay` does: check, mend, describe, cut and merge datasets, and say what came of it."""

import contextlib
import logging
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from config.process import DONE, FAILED, FailedError
from learner.replay.dataset.format.layout import ORIGIN_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import open_snapshot, read_info, read_json
from learner.replay.tools.merge import Selection, export, merge
from learner.replay.tools.outcomes import read_outcomes
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import verify

log = logging.getLogger("replay")


@contextlib.contextmanager
def _damage_named() -> Generator[None]:
    """Raises FailedError for what pyarrow cannot read."""
    try:
        yield
    except pa.ArrowException as error:
        raise FailedError(f"a file is damaged, verify says which: {str(error).splitlines()[0]}") from error


def verify_and_report(path: Path) -> int:
    """Say every problem, a line each; the exit code.
    Raises DatasetError: `path` is no dataset."""
    if not (path / "meta").is_dir():
        raise DatasetError(f"{path} is no LeRobot dataset: it has no folder meta/")
    with _damage_named():
        problems = verify(path)
    for problem in problems:
        log.info("%s", problem)
    if problems:
        return FAILED
    # May have grown by now.
    info = read_info(path)
    log.info("%s is whole: %d episodes, %d frames", path, info["total_episodes"], info["total_frames"])
    return DONE


def repair_and_report(path: Path) -> None:
    """Cut to the longest whole prefix, and say what had to go.
    Raises DatasetError: `path` is no dataset that a run wrote, or is in use."""
    with _damage_named():
        repaired = repair(path)
    for line in repaired.dropped:
        log.info("dropped: %s", line)
    log.info("%s is whole: %d episodes, %d frames", path, repaired.episodes, repaired.frames)


def export_and_report(
    path: Path, target: Path, successes: bool, after_version: int | None, actors: Sequence[str]
) -> None:
    """Write the chosen episodes as a new dataset.
    Raises DatasetError: `path` cannot be read, or `target` cannot be written."""
    with _damage_named():
        made = export(path, target, Selection(successes, after_version, tuple(actors)))
    log.info("%d episodes, %d frames in %s", made.episodes, made.frames, target)


def merge_and_report(paths: Sequence[Path], target: Path) -> None:
    """Write the episodes of several datasets as a new one.
    Raises DatasetError: they do not fit each other, cannot be read, or `target` cannot be written."""
    with _damage_named():
        made = merge(list(paths), target)
    log.info("%d episodes, %d frames in %s", made.episodes, made.frames, target)


def show_info(path: Path) -> None:
    """Print two tables: facts, and the dataset's columns.
    Raises DatasetError: `path` is no dataset."""
    with _damage_named(), open_snapshot(path) as view:
        rows, features = _described(view)
    table = Table(title=str(path), show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    columns = Table("column", "type", "shape")
    for name, feature in features.items():
        columns.add_row(name, feature["dtype"], " x ".join(map(str, feature["shape"])))
    Console().print(table, columns)


def _described(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in a dataset: facts in words, and its features."""
    info, outcomes = read_info(path), read_outcomes(path)
    known = [outcome.success for outcome in outcomes if outcome.success is not None]
    lengths = [outcome.frames for outcome in outcomes]
    files = [file for file in path.rglob("*") if file.is_file()]
    rows = {
        "episodes": f"{info['total_episodes']:,}",
        "frames": f"{info['total_frames']:,}",
        "frames an episode": f"{min(lengths)} .. {max(lengths)}, mean {sum(lengths) / len(lengths):.1f}",
        "success": f"{100 * sum(known) / len(known):.1f} %" if known else "not recorded",
        "frames a second": info["fps"],
        "robot": info["robot_type"],
        "on disk": f"{sum(file.stat().st_size for file in files) / 1e6:,.1f} MB in {len(files)} files",
    }
    if (path / ORIGIN_PATH).exists():
        origin = read_json(path, ORIGIN_PATH)
        versions = [outcome.version for outcome in outcomes if outcome.version is not None]
        rows |= {
            "task": origin["task"],
            "actors": ", ".join(origin["actors"]),
            "weights versions": f"{min(versions)} .. {max(versions)}",
        }
    return rows, info["features"]
