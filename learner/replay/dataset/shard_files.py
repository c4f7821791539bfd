"""Writing the files of a shard, and those about the whole dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.dataset.arrow import Array, column, episode_lengths, with_column
from learner.replay.dataset.format import layout
from learner.replay.dataset.format.images import statistics_of, with_channels
from learner.replay.dataset.format.spec import DatasetSpec, image_features
from learner.replay.dataset.format.statistics import describe
from learner.replay.dataset.format.tables import as_matrix, episodes_table, placed
from learner.replay.dataset.manifest import Manifest, next_position, shard_on_disk
from learner.replay.dataset.swap import StagedFolder

# Readers find an episode's row group by these; bounds of the other columns would only cost time.
_BOUNDED_COLUMNS = ["episode_index", "index", "frame_index"]


def shard_writer(where: pa.NativeFile | Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A file of frames. No dictionaries: numbers hardly repeat within an episode."""
    return pq.ParquetWriter(
        where, schema, compression="snappy", use_dictionary=False, write_statistics=_BOUNDED_COLUMNS
    )


def write_row_groups(writer: pq.ParquetWriter, table: pa.Table, lengths: Array) -> None:
    """One row group an episode, as newer readers want it."""
    # Neighbours of the same length need one call.
    starts = np.flatnonzero(np.r_[True, lengths[1:] != lengths[:-1]])
    first = 0
    for start, stop in zip(starts, [*starts[1:], len(lengths)], strict=True):
        frames = int(lengths[start:stop].sum())
        writer.write_table(table.slice(first, frames), row_group_size=int(lengths[start]))
        first += frames


def add_tables(
    staged: StagedFolder, manifest: Manifest, spec: DatasetSpec, frames: pa.Table, sidecar: pa.Table
) -> Manifest:
    """Add whole episodes as a shard, numbered on from those of `manifest`.

    Args:
        frames: rows of a file of frames, episode after episode, of the same actors.
        sidecar: the same episodes.
    """
    lengths = episode_lengths(frames)
    numbers = manifest.episodes + np.arange(len(lengths))
    frames = with_column(frames, "episode_index", np.repeat(numbers, lengths))
    frames = with_column(frames, "index", manifest.frames + np.arange(len(frames)))
    statistics = with_channels(describe(as_matrix(frames, spec), lengths), statistics_of(sidecar, spec))
    number = manifest.next_number
    tables = {
        layout.DATA_PATH: frames,
        layout.SIDECAR_PATH: with_column(sidecar, "episode_index", numbers),
        layout.EPISODES_PATH: episodes_table(
            manifest.episodes, manifest.frames, lengths, statistics, spec, number, sidecar
        ),
    }
    write_shard(staged, number, tables)
    shard = shard_on_disk(staged.root, number, len(lengths), len(frames), spec)
    return replace(
        manifest,
        shards=(*manifest.shards, shard),
        next_number=number + 1,
        statistics=manifest.statistics.plus(statistics, lengths),
        next_position=max(manifest.next_position, next_position(sidecar)),
    )


def write_shard(staged: StagedFolder, number: int, tables: dict[str, pa.Table]) -> None:
    """Write a shard's three files.
    `tables`: for each of `PATTERNS`."""
    data, episodes = layout.file_name(layout.DATA_PATH, number), tables[layout.EPISODES_PATH]

    def write(path: Path) -> None:
        # A table has a chunk for each row group that it was read from: cutting it up would be quadratic.
        frames = tables[layout.DATA_PATH].combine_chunks()
        with shard_writer(path, frames.schema) as writer:
            write_row_groups(writer, frames, column(episodes, "length"))

    staged.write(data, write)
    staged.write_table(layout.file_name(layout.SIDECAR_PATH, number), tables[layout.SIDECAR_PATH])
    staged.write_table(layout.file_name(layout.EPISODES_PATH, number), placed(episodes, number))


def write_description(staged: StagedFolder, manifest: Manifest, spec: DatasetSpec) -> None:
    """The files about the whole dataset; info.json last."""
    if not (staged.root / layout.TASKS_PATH).exists():
        tasks = pd.DataFrame({"task_index": [0]}, index=[spec.task])
        staged.write(layout.TASKS_PATH, tasks.to_parquet)
    origin = spec.origin(manifest.actors, manifest.episodes_dropped, manifest.played)
    staged.write_json(layout.ORIGIN_PATH, origin)
    staged.write_json(layout.STATS_PATH, manifest.statistics.as_json(spec.slices(), image_features(spec)))
    staged.write_json(layout.INFO_PATH, spec.info(manifest.episodes, manifest.frames))
