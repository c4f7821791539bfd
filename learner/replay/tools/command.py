"""What `residual-rl replay` does: check, mend, describe, cut and merge datasets, and say what came of it."""

import contextlib
import logging
import shlex
from collections.abc import Generator, Sequence
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from config.process import DONE, FAILED, FailedError
from learner.replay.dataset.read import open_snapshot, read_info
from learner.replay.tools.facts import describe
from learner.replay.tools.merge import Selection, export, merge

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
    from learner.replay.tools.verify import examine

    found = examine(path)
    for problem in found.problems:
        log.info("%s", problem)
    for remark in found.remarks:
        log.info("note: %s", remark)
    if found.problems:
        return FAILED
    # May have grown by now.
    info = read_info(path)
    log.info("%s is whole: %d episodes, %d frames", path, info["total_episodes"], info["total_frames"])
    return DONE


def repair_and_report(path: Path) -> int:
    """Mend it, and say what was made anew, what had to go, and what cannot be mended; the exit code.
    Raises DatasetError: `path` is no dataset, or is in use."""
    from learner.replay.tools.repair import repair

    with _damage_named():
        repaired = repair(path)
    for name in repaired.written:
        log.info("made anew: %s", name)
    for line in repaired.dropped:
        log.info("dropped: %s", line)
    for line in repaired.left:
        log.info("cannot be repaired: %s", line)
    if repaired.left:
        log.info("%s was not changed: mend or remove the files above, then repair it again", path)
        return FAILED
    log.info("%s is whole: %d episodes, %d frames", path, repaired.episodes, repaired.frames)
    return DONE


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
    """Print two tables: facts, and the dataset's columns; what cannot be read is unknown.
    Raises DatasetError: `path` is no dataset."""
    with open_snapshot(path) as view:
        facts = describe(view)
    table = Table(title=str(path), show_header=False)
    for name, value in facts.rows.items():
        table.add_row(name, value)
    columns = Table("column", "type", "shape")
    for row in facts.columns:
        columns.add_row(*row)
    Console().print(table, columns)
    for line in facts.troubles:
        log.warning("%s", line.replace(str(view), str(path)))
    if facts.troubles:
        log.warning("all that is wrong: residual-rl replay verify %s", shlex.quote(str(path)))
