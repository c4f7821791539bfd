"""A dataset that another program wrote: what can be computed from its frames, computed again."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# lerobot's and pandas' annotations leave type arguments open.

import copy
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from learner.replay.dataset.arrow import (
    Array,
    cells_of,
    column,
    column_names,
    make_table,
    matrix,
    null_count,
    read_parquet,
    row_count,
    values,
    why_unreadable,
    with_column,
)
from learner.replay.dataset.format.layout import (
    EPISODES_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    file_name,
    parquet_files,
)
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.format.statistics import MergedStatistics, describe
from learner.replay.dataset.read import read_info, read_json
from learner.replay.dataset.shard_files import shard_writer, write_row_groups
from learner.replay.dataset.swap import StagedFolder, remove
from learner.replay.tools.description import has_statistics, read_episodes, wrong_info, wrong_stats
from learner.replay.tools.lerobot_reader import NotReadError, frame_features, read_tasks
from learner.replay.tools.verify import examine

_NUMBERED = re.compile(r"chunk-(\d+)/file-(\d+)\.parquet")
_AUTOMATIC = {"timestamp": "float32"} | dict.fromkeys(
    ("frame_index", "episode_index", "index", "task_index"), "int64"
)
_COUNTS = ("total_episodes", "total_frames", "total_tasks")


@dataclass(frozen=True)
class Rebuilt:
    """What came of it."""

    written: tuple[str, ...]
    """Files that are new."""
    left: tuple[str, ...]
    """Problems that nothing in the dataset solves; if there are any, it was not changed."""


@dataclass(frozen=True)
class _Episode:
    """An episode as the frames show it."""

    place: str
    """The file of its frames, below data/."""
    label: int
    """The number that the frames have carried so far."""
    length: int
    tasks: tuple[int, ...]


def rebuild(folder: Path) -> Rebuilt:
    """Write meta/ anew from the frames, and number these on; no frame is dropped.
    Raises DatasetError: no dataset, or of another version."""
    problems = examine(folder, opening=False).problems
    staged = StagedFolder(folder)
    try:
        written = _Rebuild(staged).run()
        left = examine(staged.root).problems
    except DatasetError as error:
        written, left = [], problems or [str(error)]
    if left or not written:
        remove(staged.root)
    else:
        staged.swap_in()
    lines = [line.replace(f"{staged.root}/", "") for line in left]
    return Rebuilt(() if left else tuple(written), tuple(lines))


class _Rebuild:
    """The next version of a dataset, while it is made."""

    def __init__(self, staged: StagedFolder) -> None:
        """Raises DatasetError: its info.json cannot be read."""
        self._staged, self._root = staged, staged.root
        self._info = read_info(self._root)
        self._old = self._read_old()
        self._written: list[str] = []

    def run(self) -> list[str]:
        """The files that were written. Raises DatasetError: says what is missing for it."""
        before, paths = copy.deepcopy(self._info), parquet_files(self._root / "data")
        if broken := [path for path in paths if why_unreadable(path) is not None]:
            raise DatasetError(f"{broken[0].relative_to(self._root)} cannot be read")
        if not any(map(row_count, paths)):
            raise DatasetError("data holds no frame")
        self._mend_features(paths)
        episodes = list(self._mend_frames(paths))
        texts = self._mend_tasks(episodes)
        self._mend_episodes(episodes, texts)
        self._mend_statistics(paths)
        self._count(len(episodes), sum(episode.length for episode in episodes), len(texts))
        if self._info != before:
            self._staged.write_json(INFO_PATH, self._info)
            self._written.append(INFO_PATH)
        return self._written

    def _read_old(self) -> pa.Table | None:
        try:
            return read_episodes(self._root)
        except NotReadError:
            return None

    def _mend_features(self, paths: Sequence[Path]) -> None:
        """List the columns that there are, and no others but videos."""
        features = self._info.get("features")
        if not isinstance(features, dict):
            raise DatasetError(f"{INFO_PATH} lists no features")
        there = {name: path for path in reversed(paths) for name in column_names(path)}
        for name in [name for name, feature in features.items() if feature.get("dtype") != "video"]:
            if name not in there and name not in _AUTOMATIC:
                del features[name]
        for name, path in there.items():
            if name not in features:
                features[name] = _feature_of(read_parquet(path, [name])[name])
        for name, dtype in _AUTOMATIC.items():
            features.setdefault(name, {"dtype": dtype, "shape": [1], "names": None})
        if wrong := [*wrong_info(self._info | dict.fromkeys(_COUNTS, 0))]:
            raise DatasetError(wrong[0])
        needed = set(frame_features(self._info | dict.fromkeys(_COUNTS, 0))) - set(_AUTOMATIC)
        for path in paths:
            if lacking := needed - set(column_names(path)):
                raise DatasetError(
                    f"{path.relative_to(self._root)} lacks the columns {', '.join(sorted(lacking))}"
                )

    def _mend_frames(self, paths: Sequence[Path]) -> Iterator[_Episode]:
        """Number episodes and frames on from 0, and add the columns that follow from that."""
        episode = index = 0
        for path in paths:
            names = column_names(path)
            keys = read_parquet(path, [name for name in _AUTOMATIC if name in names])
            begins = _begins(keys)
            starts = np.flatnonzero(begins)
            lengths = np.diff(np.r_[starts, len(keys)])
            count = np.arange(len(keys))
            wanted = {"episode_index": episode + np.cumsum(begins) - 1, "index": index + count}
            within = count - np.repeat(starts, lengths)
            missing = {"frame_index": within, "timestamp": (within / self._info["fps"]).astype(np.float32)}
            missing["task_index"] = np.zeros(len(keys), np.int64)
            wanted |= {name: cells for name, cells in missing.items() if name not in names}
            self._write_frames(path, keys, wanted, lengths)
            labels = column(keys, "episode_index") if "episode_index" in names else wanted["episode_index"]
            tasks = column(keys, "task_index") if "task_index" in names else missing["task_index"]
            for start, length in zip(starts, lengths, strict=True):
                used = tuple(dict.fromkeys(tasks[start : start + length].tolist()))
                yield _Episode(
                    str(path.relative_to(self._root / "data")), int(labels[start]), int(length), used
                )
            episode, index = episode + len(starts), index + len(keys)

    def _write_frames(self, path: Path, keys: pa.Table, wanted: dict[str, Array], lengths: Array) -> None:
        changed = {
            name: cells
            for name, cells in wanted.items()
            if name not in keys.column_names or not np.array_equal(column(keys, name), cells)
        }
        if not changed:
            return
        frames = read_parquet(path)
        for name, cells in changed.items():
            frames = with_column(frames, name, cells)

        def write(target: Path) -> None:
            with shard_writer(target, frames.schema) as writer:
                write_row_groups(writer, frames, lengths)

        self._write(str(path.relative_to(self._root)), write)

    def _mend_tasks(self, episodes: Sequence[_Episode]) -> list[str]:
        """The text of each task. Raises DatasetError: nothing says them."""
        used = {task for episode in episodes for task in episode.tasks}
        try:
            known = [*read_tasks(self._root).index]
        except NotReadError:
            known = []
        if all(isinstance(text, str) for text in known) and len(known) > max(used, default=0):
            return known
        texts = _assign(self._texts_of(episodes))
        if lost := sorted(set(range(max(used, default=0) + 1)) - texts.keys()):
            raise DatasetError(f"nothing says the text of task {lost[0]}: write {TASKS_PATH} by hand")
        names = [texts[task] for task in sorted(texts)]
        table = pd.DataFrame({"task_index": range(len(names))}, index=names)
        self._write(TASKS_PATH, table.to_parquet)
        return names

    def _texts_of(self, episodes: Sequence[_Episode]) -> Iterator[tuple[tuple[int, ...], set[str]]]:
        """The tasks of each episode, and the texts that meta/episodes says these have."""
        if self._old is None or not {"tasks", "episode_index"} <= set(self._old.column_names):
            return
        said = dict(zip(values(self._old, "episode_index"), values(self._old, "tasks"), strict=True))
        for episode in episodes:
            if said.get(episode.label):
                yield episode.tasks, set(said[episode.label])

    def _mend_episodes(self, episodes: Sequence[_Episode], texts: Sequence[str]) -> None:
        """One table of all episodes, with what the old one says beyond the frames."""
        ends = np.cumsum([episode.length for episode in episodes], dtype=np.int64)
        lengths = np.array([episode.length for episode in episodes], np.int64)
        count = np.arange(len(episodes))
        columns = {
            "episode_index": count, "length": lengths,
            "dataset_from_index": ends - lengths, "dataset_to_index": ends,
            "tasks": cells_of([[texts[task] for task in episode.tasks] for episode in episodes]),
        }  # fmt: skip
        places = [_NUMBERED.fullmatch(episode.place) for episode in episodes]
        if all(places):
            for at, name in ((1, "data/chunk_index"), (2, "data/file_index")):
                columns[name] = np.array([int(place[at]) for place in places if place], np.int64)
        table = make_table(columns)
        if self._old is not None and _says(self._old, table):
            return
        table = self._with_old(table, episodes)
        for name in ("meta/episodes/chunk_index", "meta/episodes/file_index"):
            table = with_column(table, name, np.zeros(len(episodes), np.int64))
        for path in parquet_files(self._root / "meta/episodes"):
            self._staged.remove(str(path.relative_to(self._root)))
        name = file_name(EPISODES_PATH, 0)
        self._staged.write_table(name, table)
        self._written.append(name)

    def _with_old(self, table: pa.Table, episodes: Sequence[_Episode]) -> pa.Table:
        """Beside the new columns those of the old table, row by row as the frames were labelled."""
        if self._old is None or "episode_index" not in self._old.column_names:
            return table
        at = {label: row for row, label in enumerate(values(self._old, "episode_index"))}
        rows = pa.array([at.get(episode.label) for episode in episodes], pa.int64())
        for name in self._old.column_names:
            if name not in table.column_names:
                table = table.append_column(name, self._old[name].take(rows))
        return table

    def _mend_statistics(self, paths: Sequence[Path]) -> None:
        """Statistics of numbers, from the frames; those of pictures stay as they are."""
        try:
            if not self._written and not [*wrong_stats(self._root, self._info)]:
                return
            old = read_json(self._root, STATS_PATH)
        except DatasetError:
            old = {}
        features = {name: each for name, each in self._info["features"].items() if self._is_number(name)}
        new = _statistics(paths, features)
        kept = {name: each for name, each in old.items() if name in self._info["features"]}
        if kept | new != old:
            self._staged.write_json(STATS_PATH, kept | new)
            self._written.append(STATS_PATH)

    def _is_number(self, name: str) -> bool:
        dtype = self._info["features"][name].get("dtype")
        return has_statistics(self._info, name) and dtype not in ("image", "video")

    def _count(self, episodes: int, frames: int, tasks: int) -> None:
        counts = dict(zip(_COUNTS, (episodes, frames, tasks), strict=True))
        if any(self._info.get(name) != count for name, count in counts.items()):
            self._info |= counts | {"splits": {"train": f"0:{episodes}"}}

    def _write(self, name: str, write: Any) -> None:
        self._staged.write(name, write)
        self._written.append(name)


def _begins(keys: pa.Table) -> Array:
    """b1 (N,), where an episode begins. Raises DatasetError: nothing says it."""
    changes = np.zeros(max(0, len(keys) - 1), bool)
    told = [name for name in ("episode_index", "frame_index") if name in keys.column_names]
    if not told:
        raise DatasetError(
            "the frames have neither episode_index nor frame_index: nothing says where episodes begin"
        )
    for name in keys.column_names:
        if null_count(keys, name):
            raise DatasetError(f"{name} has empty values")
    if "episode_index" in told:
        changes |= np.diff(column(keys, "episode_index")) != 0
    if "frame_index" in told:
        changes |= np.diff(column(keys, "frame_index")) <= 0
    return np.r_[np.ones(min(1, len(keys)), bool), changes]


def _assign(said: Iterator[tuple[tuple[int, ...], set[str]]]) -> dict[int, str]:
    """The text of each task where only one fits."""
    fits: dict[int, set[str]] = {}
    for tasks, texts in said:
        for task in tasks:
            fits[task] = fits.get(task, texts) & texts
    found: dict[int, str] = {}
    while alone := {task: texts for task, texts in fits.items() if len(texts - {*found.values()}) == 1}:
        task, texts = alone.popitem()
        (found[task],) = texts - {*found.values()}
        del fits[task]
    return found


def _says(old: pa.Table, new: pa.Table) -> bool:
    """Whether the old table has all that is in the new one."""
    return len(old) == len(new) and all(
        name in old.column_names and values(old, name) == values(new, name) for name in new.column_names
    )


def _feature_of(cells: "pa.ChunkedArray[Any]") -> dict[str, Any]:
    """The feature that a column of frames shows. Raises DatasetError: a type without a name in LeRobot."""
    first: Any = cells[0].as_py() if len(cells) else 0
    inner = cells.type
    while hasattr(inner, "value_type"):
        inner = inner.value_type
    if pa.types.is_string(inner) or pa.types.is_large_string(inner):
        dtype = "string"
    elif pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner):
        dtype = np.dtype(inner.to_pandas_dtype()).name
    else:
        raise DatasetError(f"{INFO_PATH} does not list a column of {inner}")
    return {"dtype": dtype, "shape": list(np.shape(first)) or [1], "names": None}


def _statistics(paths: Sequence[Path], features: dict[str, Any]) -> dict[str, Any]:
    """Content of stats.json for these features."""
    widths = {name: math.prod(feature["shape"]) for name, feature in features.items()}
    ends = dict(zip(widths, itertools.accumulate(widths.values()), strict=True))
    merged = MergedStatistics()
    for path in paths:
        frames = read_parquet(path, list(features))
        starts = np.flatnonzero(_begins(frames))
        lengths = np.diff(np.r_[starts, len(frames)])
        if len(frames):
            numbers = np.concatenate([matrix(frames, name).astype(np.float64) for name in features], axis=1)
            merged = merged.plus(describe(numbers, lengths), lengths)
    content = merged.as_json({name: slice(ends[name] - width, ends[name]) for name, width in widths.items()})
    return {
        name: {
            kind: each if kind == "count" else np.reshape(each, features[name]["shape"]).tolist()
            for kind, each in said.items()
        }
        for name, said in content.items()
    }
