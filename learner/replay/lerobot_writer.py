"""Whole episodes -> LeRobot v3.0 files. At every moment the folder is a dataset of what was committed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.episodes import Episode
from learner.replay.lerobot_format import (
    DATA_FILE_MB,
    DATA_PATH,
    EPISODES_PATH,
    FINALS_PATH,
    INFO_PATH,
    ORIGIN_PATH,
    STATS_PATH,
    TASKS_PATH,
    DatasetSpec,
    episodes_table,
    file_place,
    fixed_lists,
    frame_columns,
)
from learner.replay.lerobot_stats import MergedStatistics, describe

# Readers find an episode's row group by these; bounds of the other columns would only cost time.
_BOUNDED_COLUMNS = ["episode_index", "index", "frame_index"]


class LeRobotWriter:
    """Appends episodes to an open shard; `commit` makes them part of the dataset.

    Files appear by renaming, in the order data, final observations, episodes, statistics, info.json:
    a reader trusts info.json, so whatever it counts is there. Not safe for several threads.
    """

    def __init__(self, folder: Path, spec: DatasetSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._slices = spec.slices()
        self._actors: dict[str, int] = {}
        self._merged = MergedStatistics()
        self._files = 0
        self._next_index = 0
        self._shard: pq.ParquetWriter | None = None
        self._shard_bytes = 0
        self._rows: list[dict[str, Any]] = []
        self._statistics: list[np.ndarray] = []
        self._finals: list[Episode] = []
        self.episodes = 0
        """Committed episodes."""
        self.frames = 0
        """Committed frames."""

    @property
    def full(self) -> bool:
        """The open shard is as large as LeRobot lets a file be."""
        return self._shard_bytes >= DATA_FILE_MB * 2**20

    def append(self, episode: Episode) -> None:
        """Write one episode, as one row group, into the open shard."""
        episode_index = self.episodes + len(self._rows)
        columns = frame_columns(
            episode,
            self._spec,
            actor=self._actors.setdefault(episode.actor_id, len(self._actors)),
            episode_index=episode_index,
            first_index=self._next_index,
        )
        table = pa.table({name: fixed_lists(values) for name, values in columns.items()})
        if self._shard is None:
            self._shard = self._open_shard(table.schema)
        self._shard.write_table(table)
        self._shard_bytes += table.nbytes
        self._statistics.append(describe(np.column_stack([*columns.values()]).astype(np.float64)))
        self._rows.append(self._row(episode_index, len(episode)))
        self._finals.append(episode)
        self._next_index += len(episode)

    def commit(self) -> None:
        """Close the shard and make its episodes part of the dataset; nothing to do is no error."""
        if self._shard is None:
            return
        self._shard.close()
        self._shard = None
        data = self._path(DATA_PATH)
        _rename_whole(_beside(data), data)
        statistics, counts = np.stack(self._statistics), np.array([row["length"] for row in self._rows])
        self._merged.add(statistics, counts)
        _write_table(self._path(FINALS_PATH), self._finals_table())
        table = episodes_table(self._rows, statistics, self._slices, self._spec.task)
        _write_table(self._path(EPISODES_PATH), table)
        if self.episodes == 0:
            tasks = pd.DataFrame({"task_index": [0]}, index=[self._spec.task])
            _write(self._folder / TASKS_PATH, tasks.to_parquet)
        episodes, frames = self.episodes + len(self._rows), self._next_index
        origin = {"repo_id": self._spec.repo_id, "actors": list(self._actors)}
        _write_json(self._folder / ORIGIN_PATH, origin)
        _write_json(self._folder / STATS_PATH, self._merged.as_json(self._slices))
        _write_json(self._folder / INFO_PATH, self._spec.info(episodes, frames))
        self.episodes, self.frames = episodes, frames
        self._files += 1
        self._shard_bytes = 0
        self._rows, self._statistics, self._finals = [], [], []

    def _open_shard(self, schema: pa.Schema) -> pq.ParquetWriter:
        path = _beside(self._path(DATA_PATH))
        path.parent.mkdir(parents=True, exist_ok=True)
        return pq.ParquetWriter(
            path, schema, compression="snappy", use_dictionary=False, write_statistics=_BOUNDED_COLUMNS
        )

    def _path(self, pattern: str) -> Path:
        return self._folder / pattern.format(**file_place(self._files))

    def _row(self, episode_index: int, length: int) -> dict[str, int]:
        place = file_place(self._files)
        return {
            "episode_index": episode_index,
            "length": length,
            "dataset_from_index": self._next_index,
            "dataset_to_index": self._next_index + length,
            **{f"data/{key}": value for key, value in place.items()},
            **{f"meta/episodes/{key}": value for key, value in place.items()},
        }

    def _finals_table(self) -> pa.Table:
        """What a restore needs beyond the frames: how each episode ended, and its last decision whole."""
        flat = {
            name: fixed_lists(np.stack([getattr(e, attribute).reshape(-1) for e in self._finals]))
            for name, attribute in (
                ("observation", "final_observation"),
                ("final_base_plan", "final_base_plan"),
                ("last_base_plan", "last_base_plan"),
                ("last_residual", "last_residual"),
            )
        }
        indices = [row["episode_index"] for row in self._rows]
        ends = {name: [getattr(e, name) for e in self._finals] for name in ("terminated", "truncated")}
        return pa.table({"episode_index": pa.array(indices, pa.int64()), **flat, **ends})


def _beside(path: Path) -> Path:
    """Where a file grows: next to its place, with a name that no glob for parquet finds."""
    return path.with_name(path.name + ".tmp")


def _rename_whole(grown: Path, path: Path) -> None:
    """Synced before and after the rename: a power cut must not reorder what a reader relies on."""
    _sync(grown)
    os.replace(grown, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(_beside(path))
    _rename_whole(_beside(path), path)


def _write_table(path: Path, table: pa.Table) -> None:
    _write(path, lambda grown: pq.write_table(table, grown))


def _write_json(path: Path, value: object) -> None:
    _write(path, lambda grown: grown.write_text(json.dumps(value, indent=4) + "\n"))
