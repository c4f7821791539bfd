"""The episodes that the frames show, numbered on from 0."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import (
    Array,
    column,
    is_whole,
    read_parquet,
    with_column,
)
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.shard_files import shard_writer, write_row_groups
from learner.replay.tools.lerobot_reader import Features, cast
from learner.replay.tools.rebuild.draft import Draft
from learner.replay.tools.rebuild.features import AUTOMATIC


@dataclass(frozen=True)
class Episode:
    """An episode as the frames show it."""

    place: str
    """The file of its frames, below data/."""
    label: int
    """The number that the frames have carried so far."""
    length: int
    tasks: tuple[int, ...]


def number_frames(draft: Draft, paths: Sequence[Path], features: Features) -> Iterator[Episode]:
    """Number episodes and frames on from 0, and add the columns that follow from that.
    Raises DatasetError: nothing says where an episode begins."""
    episode = index = 0
    for path in paths:
        stored = read_parquet(path, [*AUTOMATIC])
        keys, names = cast(stored, features, "info.json"), stored.column_names
        begins = first_frames(keys)
        starts = np.flatnonzero(begins)
        lengths = np.diff(np.r_[starts, len(keys)])
        computed = _computed(begins, lengths, draft.info["fps"])
        computed |= {"episode_index": episode + np.cumsum(begins) - 1, "index": index + np.arange(len(keys))}
        missing = {name: cells for name, cells in computed.items() if name not in names}
        wanted = {name: computed[name] for name in ("episode_index", "index")} | missing
        _write_frames(draft, path, stored, wanted, lengths)
        said = {name: column(keys, name) for name in ("episode_index", "task_index") if name in names}
        labels, tasks = ((computed | said)[name] for name in ("episode_index", "task_index"))
        place = str(path.relative_to(draft.root / "data"))
        for start, length in zip(starts, lengths, strict=True):
            used = tuple(dict.fromkeys(tasks[start : start + length].tolist()))
            yield Episode(place, int(labels[start]), int(length), used)
        episode, index = episode + len(starts), index + len(keys)


def first_frames(keys: pa.Table) -> Array:
    """b1 (N,), whether an episode begins. Raises DatasetError: nothing says it."""
    changes = np.zeros(max(0, len(keys) - 1), bool)
    there = [name for name in ("episode_index", "frame_index") if name in keys.column_names]
    told = {name: column(keys, name).astype(np.int64) for name in there if is_whole(keys, name)}
    if not told:
        raise DatasetError(
            "the frames have neither episode_index nor frame_index: nothing says where episodes begin"
        )
    if "episode_index" in told:
        changes |= np.diff(told["episode_index"]) != 0
    if "frame_index" in told:
        changes |= np.diff(told["frame_index"]) <= 0
    return np.r_[np.ones(min(1, len(keys)), bool), changes]


def _computed(begins: Array, lengths: Array, fps: float) -> dict[str, Array]:
    """The columns that follow from where episodes begin, and the only task there could be."""
    within = np.arange(len(begins)) - np.repeat(np.flatnonzero(begins), lengths)
    return {
        "frame_index": within,
        "timestamp": (within / fps).astype(np.float32),
        "task_index": np.zeros(len(begins), np.int64),
    }


def _write_frames(
    draft: Draft, path: Path, stored: pa.Table, wanted: Mapping[str, Array], lengths: Array
) -> None:
    """Write a file anew if one of its columns has other cells than `wanted`, or is missing."""
    changed = {
        name: cells
        for name, cells in wanted.items()
        if name not in stored.column_names or not np.array_equal(column(stored, name), cells)
    }
    if not changed:
        return
    frames = read_parquet(path)
    for name, cells in changed.items():
        frames = with_column(frames, name, cells)

    def write(target: Path) -> None:
        with shard_writer(target, frames.schema) as writer:
            write_row_groups(writer, frames, lengths)

    draft.write(draft.name_of(path), write)
