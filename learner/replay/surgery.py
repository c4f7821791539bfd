"""Whole datasets made from others: repaired, a part of one, several as one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from learner.replay.generations import Generation, recover
from learner.replay.lerobot_folder import (
    SAME_KIND,
    BrokenError,
    Committed,
    read_forgotten,
    read_info,
    read_json,
    read_spec,
    read_whole_spec,
    standing,
)
from learner.replay.lerobot_format import (
    DATA_PATH,
    ORIGIN_PATH,
    PATTERNS,
    SIDECAR_PATH,
    DatasetError,
    DatasetSpec,
    episode_lengths,
    file_name,
    file_number,
    read_parquet,
    with_column,
)
from learner.replay.lerobot_images import video_name, video_numbers, with_videos
from learner.replay.lerobot_shards import (
    add_tables,
    compact,
    remove_unused_videos,
    write_description,
)
from learner.replay.verify import (
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


@dataclass(frozen=True)
class Selection:
    """Which episodes an export keeps; None keeps all."""

    successes: bool = False
    after_version: int | None = None
    """Episodes whose first decision came from a later weights version."""
    actors: tuple[str, ...] = ()

    def keeps(self, frames: pa.Table, sidecar: pa.Table) -> np.ndarray:
        """b1 (E,) for the episodes in these tables."""
        lengths = episode_lengths(frames)
        starts = np.cumsum(lengths) - lengths
        kept = np.ones(len(lengths), bool)
        if self.successes:
            kept &= np.maximum.reduceat(frames["next.success"].to_numpy(zero_copy_only=False), starts)
        if self.after_version is not None:
            kept &= frames["weights_version"].to_numpy()[starts] > self.after_version
        if self.actors:
            kept &= np.isin(sidecar["actor_id"].to_pylist(), self.actors)
        return kept


def repair(folder: Path) -> Repaired:
    """Cut a dataset of this replay to its longest whole prefix, in one step; a whole one stays as it is.

    Statistics, counts and episode tables are made anew from the frames and the sidecar.

    Raises:
        DatasetError: not of this replay, or not a single episode is whole.
    """
    recover(folder)
    with contextlib.suppress(BrokenError):  # it is made anew
        read_info(folder)
    spec = read_spec(folder)
    if not verify(folder):
        info = read_info(folder)
        return Repaired(info["total_episodes"], info["total_frames"], ())
    old = [path for pattern in PATTERNS for path in parquet_files(folder / pattern.partition("/chunk")[0])]
    state = Committed(
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


def export(source: Path, target: Path, selection: Selection) -> Committed:
    """Write the selected episodes as a new dataset.

    Raises:
        DatasetError: `source` is not a dataset of this replay, `target` exists, or nothing is selected.
    """
    return merge([source], target, selection)


def merge(sources: Sequence[Path], target: Path, selection: Selection | None = None) -> Committed:
    """Write the episodes of all `sources`, each as it stands now, one after the other as a new dataset.

    Raises:
        DatasetError: a source is not a dataset of this replay, or of another kind than the first;
            `target` exists; nothing is selected; an episode is in two sources.
    """
    if target.exists():
        raise DatasetError(f"{target} exists already")
    with contextlib.ExitStack() as views:
        return _merge([views.enter_context(standing(source)) for source in sources], target, selection)


def _merge(sources: Sequence[Path], target: Path, selection: Selection | None) -> Committed:
    spec = replace(read_whole_spec(sources[0]), repo_id=target.name)
    for source in sources:
        _check_same_kind(sources[0], source)
    target.parent.mkdir(parents=True, exist_ok=True)
    generation, state, seen = Generation(target), Committed(), set[tuple[str, int, int, int]]()
    for source in sources:
        state = _add_dataset(generation, state, spec, source, selection or Selection(), seen)
    if not state.shards:
        shutil.rmtree(generation.root)
        raise DatasetError("no episode is left to write")
    state = compact(generation, state, spec)
    write_description(generation, state, spec)
    generation.replace()
    return state


def read_tables(folder: Path) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The frames and the sidecar of each shard, oldest first.

    Raises:
        DatasetError: a file is missing or broken.
    """
    names = read_spec(folder).table_columns()
    for path in parquet_files(folder / "data"):
        other = folder / file_name(SIDECAR_PATH, file_number(path))
        try:
            frames, sidecar = read_parquet(path), read_parquet(other)
            if lacking := names - set(frames.column_names):
                raise DatasetError(f"{path} lacks the columns {', '.join(sorted(lacking))}")
            yield frames, sidecar
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{folder} is damaged (repair it first): {error}") from error


def _whole_prefix(
    folder: Path, number: int, state: Committed, spec: DatasetSpec
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
    frames: pa.Table, sidecar: pa.Table, lengths: np.ndarray, count: int, state: Committed, spec: DatasetSpec
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


def _check_same_kind(first: Path, other: Path) -> None:
    ours, theirs = read_spec(first), read_whole_spec(other)
    for key in SAME_KIND:
        if getattr(ours, key) != getattr(theirs, key):
            raise DatasetError(f"{other} has {key} {getattr(theirs, key)}, {first} {getattr(ours, key)}")


def _add_dataset(
    generation: Generation,
    state: Committed,
    spec: DatasetSpec,
    source: Path,
    selection: Selection,
    seen: set[tuple[str, int, int, int]],
) -> Committed:
    names = read_json(source, ORIGIN_PATH)["actors"]
    actors = [*state.actors, *(name for name in names if name not in state.actors)]
    numbers = np.array([actors.index(name) for name in names])
    forgotten = dict(state.forgotten)
    for lane, count in read_forgotten(source).items():
        forgotten[lane] = max(forgotten.get(lane, 0), count)
    state = replace(state, actors=tuple(actors), forgotten=forgotten)
    positions = state.next_position
    for frames, sidecar in read_tables(source):
        kept = selection.keeps(frames, sidecar)
        if not kept.any():
            continue
        frames = frames.filter(pa.array(np.repeat(kept, episode_lengths(frames))))
        frames = with_column(frames, "actor", numbers[frames["actor"].to_numpy()])
        sidecar = _moved(sidecar.filter(pa.array(kept)), positions)
        _check_new(sidecar, seen, source)
        if spec.images == "video":
            sidecar, state = _take_videos(generation, state, spec, source, sidecar)
        state = add_tables(generation, state, spec, frames, sidecar)
    return state


def _take_videos(
    generation: Generation, state: Committed, spec: DatasetSpec, source: Path, sidecar: pa.Table
) -> tuple[pa.Table, Committed]:
    """Take the videos of these episodes whole, under new numbers; others may be in them too."""
    places = {}
    for number in dict.fromkeys(sidecar["video"].to_pylist()):
        for camera in spec.cameras:
            path = source / video_name(camera, number)
            if not path.exists():
                raise DatasetError(f"{path} is missing: repair {source} first")
            generation.take(path, video_name(camera, state.next_number))
        places[number] = (state.next_number, 0)
        state = replace(state, next_number=state.next_number + 1)
    return with_videos(sidecar, places), state


def _moved(sidecar: pa.Table, by: int) -> pa.Table:
    """The sidecar with all positions in the stream of rows behind those of the dataset before."""
    column = sidecar["positions"].combine_chunks()
    moved = pa.ListArray.from_arrays(column.offsets, pc.add(column.values, by))
    return sidecar.set_column(sidecar.schema.get_field_index("positions"), "positions", moved)


def _check_new(sidecar: pa.Table, seen: set[tuple[str, int, int, int]], source: Path) -> None:
    columns = (sidecar[name].to_pylist() for name in ("actor_id", "session", "sub_env", "episode"))
    for identity in zip(*columns, strict=True):
        if identity in seen:
            raise DatasetError(f"{source}: episode {identity} is in an earlier dataset already")
        seen.add(identity)
