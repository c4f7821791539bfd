"""The longest whole prefix of a damaged dataset."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from config.files import locked
from learner.replay.dataset.arrow import (
    Array,
    column,
    episode_lengths,
    make_table,
    read_parquet,
    why_unreadable,
)
from learner.replay.dataset.format import layout
from learner.replay.dataset.format.spec import DatasetError, DatasetSpec
from learner.replay.dataset.manifest import Manifest, read_episodes_dropped
from learner.replay.dataset.read import BrokenError, open_snapshot, read_info, read_json, read_spec
from learner.replay.dataset.rewrite import remove_unused_videos
from learner.replay.dataset.shard_files import add_tables, write_description
from learner.replay.dataset.swap import StagedFolder, recover
from learner.replay.tools.problems import problem_with_frames, problems_with_videos
from learner.replay.tools.rebuild.rebuild import rebuild
from learner.replay.tools.verify import verify


@dataclass(frozen=True)
class Repaired:
    """What a repair kept, and what it found at the end of it."""

    episodes: int
    frames: int
    dropped: tuple[str, ...] = ()
    """A line for each thing that had to go."""
    written: tuple[str, ...] = ()
    """Files that were made anew from the frames."""
    left: tuple[str, ...] = ()
    """Problems that could not be solved; if there are any, nothing was changed."""


def repair(folder: Path) -> Repaired:
    """Mend a dataset in one step; a whole one is not changed.

    One of this replay is cut to its longest whole prefix; statistics, counts, tasks and episode tables are
    computed again from the frames and the sidecar. Of one that another program wrote no frame is dropped, and
    meta/ is computed again from the frames.

    Raises DatasetError: no dataset, not a single episode is whole, it cannot be written to, or a learner is
    writing to it."""
    with _nobody_writes(folder):
        try:
            recover(folder)
            with open_snapshot(folder) as view:
                ours = (view / layout.ORIGIN_PATH).exists()
            return _repair(folder) if ours else _rebuild(folder)
        except PermissionError as error:
            raise DatasetError(f"{error.filename} cannot be written: {error.strerror}") from error


def _rebuild(folder: Path) -> Repaired:
    made = rebuild(folder)
    if made.left:
        return Repaired(0, 0, left=made.left)
    info = read_info(folder)
    return Repaired(info["total_episodes"], info["total_frames"], made.dropped, made.written)


def _nobody_writes(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Lock the run that the dataset belongs to, as its learner does: no learner can write meanwhile."""
    lock = folder.parent / "lock"
    if not lock.exists():
        return contextlib.nullcontext()
    says = f"a learner is writing to {folder}: end its run first; all other commands work meanwhile"
    return locked(lock, DatasetError(says))


def _repair(folder: Path) -> Repaired:
    with contextlib.suppress(BrokenError):  # it is made anew
        read_info(folder)
    spec = read_spec(folder)
    if not verify(folder):
        info = read_info(folder)
        return Repaired(info["total_episodes"], info["total_frames"], ())
    old = [
        path
        for pattern in layout.PATTERNS
        for path in layout.parquet_files(folder / pattern.partition("/chunk")[0])
    ]
    manifest = Manifest(
        actors=tuple(read_json(folder, layout.ORIGIN_PATH)["actors"]),
        episodes_dropped=read_episodes_dropped(folder),
        next_number=max([*map(layout.file_number, old), *layout.video_numbers(folder)], default=-1) + 1,
    )
    staged = StagedFolder(folder)
    dropped: list[str] = []
    for path in layout.parquet_files(folder / "data"):
        if dropped:
            dropped.append(f"{path.relative_to(folder)}: it follows on that")
            continue
        frames, sidecar, problem = _whole_prefix(folder, layout.file_number(path), manifest, spec)
        if len(sidecar):
            manifest = add_tables(staged, manifest, spec, frames, sidecar)
        dropped += [] if problem is None else [problem]
    if not manifest.shards:
        shutil.rmtree(staged.root)
        raise DatasetError(f"{folder} holds no whole episode: {'; '.join(dropped) or 'no data'}")
    for path in old:
        staged.remove(str(path.relative_to(folder)))
    remove_unused_videos(staged, manifest, spec)
    staged.remove(layout.TASKS_PATH)
    write_description(staged, manifest, spec)
    staged.swap_in()
    return Repaired(manifest.episodes, manifest.frames, tuple(dropped))


def _whole_prefix(
    folder: Path, number: int, manifest: Manifest, spec: DatasetSpec
) -> tuple[pa.Table, pa.Table, str | None]:
    """The leading episodes of a shard that are whole and follow on `manifest`, and what ended them."""
    tables: list[pa.Table] = []
    for name in (layout.file_name(layout.DATA_PATH, number), layout.file_name(layout.SIDECAR_PATH, number)):
        path = folder / name
        problem = why_unreadable(path) if path.exists() else "missing"
        if problem is not None:
            return *_no_tables(), f"{name}: {problem}"
        try:
            tables.append(read_parquet(path))
        except (pa.ArrowException, OSError) as error:
            return *_no_tables(), f"{name}: {error}"
    frames, sidecar = tables
    if lacking := spec.table_columns() - set(frames.column_names):
        return (
            *_no_tables(),
            f"{layout.file_name(layout.DATA_PATH, number)} lacks the columns {', '.join(sorted(lacking))}",
        )
    lengths = episode_lengths(frames)
    if (problem := next(problems_with_videos(folder, sidecar, lengths, spec), None)) is not None:
        return *_no_tables(), problem
    count, problem = _leading(
        lambda n: _problem_of(frames, sidecar, lengths[:n], manifest, spec), len(lengths)
    )
    if problem is not None:
        problem = (
            f"{layout.file_name(layout.DATA_PATH, number)}: {problem}; {len(lengths) - count} episodes in it"
        )
    return frames.slice(0, int(lengths[:count].sum())), sidecar.slice(0, count), problem


def _leading(problem_of: Callable[[int], str | None], total: int) -> tuple[int, str | None]:
    """The largest number up to `total` without a problem, and the problem of the next one; by bisection."""
    problem = problem_of(total)
    if problem is None:
        return total, None
    whole, broken = 0, total
    while broken - whole > 1:
        middle = (whole + broken) // 2
        found = problem_of(middle)
        if found is None:
            whole = middle
        else:
            broken, problem = middle, found
    return whole, problem


def _problem_of(
    frames: pa.Table, sidecar: pa.Table, lengths: Array, manifest: Manifest, spec: DatasetSpec
) -> str | None:
    """What is wrong with the leading episodes, of these lengths, or None."""
    if not len(lengths):
        return None
    part = frames.slice(0, int(lengths.sum()))
    problem = problem_with_frames(part, manifest.episodes, manifest.frames, spec.fps)
    if problem is not None:
        return problem
    done = column(part, "next.done")
    if not np.array_equal(np.flatnonzero(done), np.cumsum(lengths) - 1):
        return "an episode is cut short: next.done is not at its end"
    wanted = manifest.episodes + np.arange(len(lengths))
    if not np.array_equal(column(sidecar, "episode_index")[: len(lengths)], wanted):
        return f"the sidecar does not describe episode {wanted[-1]}"
    return None


def _no_tables() -> tuple[pa.Table, pa.Table]:
    return make_table({}), make_table({})
