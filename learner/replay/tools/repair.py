"""The longest whole prefix of a damaged dataset."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.folder import (
    BrokenError,
    DatasetState,
    read_forgotten,
    read_info,
    read_json,
    read_spec,
)
from learner.replay.dataset.format import DatasetError, DatasetSpec, episode_lengths, read_parquet
from learner.replay.dataset.layout import (
    DATA_PATH,
    ORIGIN_PATH,
    PATTERNS,
    SIDECAR_PATH,
    file_name,
    file_number,
    video_numbers,
)
from learner.replay.dataset.shard_files import (
    add_tables,
    remove_unused_videos,
    write_description,
)
from learner.replay.dataset.swap import Generation, recover
from learner.replay.tools.verify import (
    parquet_files,
    problem_with_frames,
    problems_with_videos,
    verify,
    why_unreadable,
)


@dataclass(frozen=True)
class Repaired:
    """What a repair kept, and what it found at the end of it."""

    episodes: int
    frames: int
    dropped: tuple[str, ...]
    """A line for each thing that had to go."""


def repair(folder: Path) -> Repaired:
    """Cut a dataset of this replay to its longest whole prefix, in one step; a whole one stays as it is.

    Statistics, counts and episode tables are made anew from the frames and the sidecar.

    Raises:
        DatasetError: not of this replay, not a single episode is whole, or a learner is writing to it.
    """
    with _nobody_writes(folder):
        return _repair(folder)


@contextlib.contextmanager
def _nobody_writes(folder: Path) -> Iterator[None]:
    """Hold the run that the dataset belongs to, as its learner does, which would lose what it has begun."""
    lock = folder.parent / "lock"
    if not lock.exists():
        yield
        return
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"a learner is writing to {folder}: end its run first; all other commands work meanwhile"
            ) from None
        yield


def _repair(folder: Path) -> Repaired:
    recover(folder)
    with contextlib.suppress(BrokenError):  # it is made anew
        read_info(folder)
    spec = read_spec(folder)
    if not verify(folder):
        info = read_info(folder)
        return Repaired(info["total_episodes"], info["total_frames"], ())
    old = [path for pattern in PATTERNS for path in parquet_files(folder / pattern.partition("/chunk")[0])]
    state = DatasetState(
        actors=tuple(read_json(folder, ORIGIN_PATH)["actors"]),
        forgotten=read_forgotten(folder),
        next_number=max([*map(file_number, old), *video_numbers(folder)], default=-1) + 1,
    )
    generation, dropped = Generation(folder), []
    for path in parquet_files(folder / "data"):
        if dropped:
            dropped.append(f"{path.relative_to(folder)}: it comes behind that")
            continue
        frames, sidecar, problem = _whole_prefix(folder, file_number(path), state, spec)
        if len(sidecar):
            state = add_tables(generation, state, spec, frames, sidecar)
        dropped += [] if problem is None else [problem]
    if not state.shards:
        shutil.rmtree(generation.root)
        raise DatasetError(f"{folder} holds no whole episode: {'; '.join(dropped) or 'no data'}")
    for path in old:
        generation.remove(str(path.relative_to(folder)))
    remove_unused_videos(generation, state, spec)
    write_description(generation, state, spec)
    generation.replace()
    return Repaired(state.episodes, state.frames, tuple(dropped))


def _whole_prefix(
    folder: Path, number: int, state: DatasetState, spec: DatasetSpec
) -> tuple[pa.Table, pa.Table, str | None]:
    """The leading episodes of a shard that are whole and follow on `state`, and what ended them."""
    tables = []
    for name in (file_name(DATA_PATH, number), file_name(SIDECAR_PATH, number)):
        path = folder / name
        problem = why_unreadable(path) if path.exists() else "missing"
        if problem is not None:
            return *_no_tables(), f"{name}: {problem}"
        try:
            tables.append(read_parquet(path).combine_chunks())
        except (pa.ArrowException, OSError) as error:
            return *_no_tables(), f"{name}: {error}"
    frames, sidecar = tables
    if lacking := spec.table_columns() - set(frames.column_names):
        return *_no_tables(), f"{file_name(DATA_PATH, number)} lacks the columns {', '.join(sorted(lacking))}"
    problem = next(problems_with_videos(folder, sidecar, episode_lengths(frames), spec), None)
    if problem is not None:
        return *_no_tables(), problem
    lengths = episode_lengths(frames)
    count, problem = _leading(lambda n: _problem_of(frames, sidecar, lengths, n, state, spec), len(lengths))
    if problem is not None:
        problem = f"{file_name(DATA_PATH, number)}: {problem}; {len(lengths) - count} episodes in it"
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
    frames: pa.Table,
    sidecar: pa.Table,
    lengths: np.ndarray,
    count: int,
    state: DatasetState,
    spec: DatasetSpec,
) -> str | None:
    """What is wrong with the first `count` episodes, or None."""
    if count == 0:
        return None
    part = frames.slice(0, int(lengths[:count].sum()))
    problem = problem_with_frames(part, state.episodes, state.frames, spec.fps)
    if problem is not None:
        return problem
    done = part["next.done"].to_numpy(zero_copy_only=False)
    if not np.array_equal(np.flatnonzero(done), np.cumsum(lengths[:count]) - 1):
        return "an episode is cut short: next.done is not at its end"
    wanted = state.episodes + np.arange(count)
    if not np.array_equal(sidecar["episode_index"].to_numpy()[:count], wanted):
        return f"the sidecar does not describe episode {wanted[-1]}"
    return None


def _no_tables() -> tuple[pa.Table, pa.Table]:
    return pa.table({}), pa.table({})
