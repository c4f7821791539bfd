"""The shards of a dataset that is being made: written, joined, renumbered, dropped, described."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.dataset import folder as lerobot_folder
from learner.replay.dataset.compaction import Shard, groups_to_merge
from learner.replay.dataset.folder import DatasetState
from learner.replay.dataset.format import (
    DatasetSpec,
    episode_lengths,
    image_features,
    read_parquet,
    with_column,
)
from learner.replay.dataset.images import episode_columns, statistics_of, with_channels, with_videos
from learner.replay.dataset.layout import (
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    ORIGIN_PATH,
    PATTERNS,
    SIDECAR_PATH,
    STATS_PATH,
    TASKS_PATH,
    file_name,
    video_name,
    video_numbers,
)
from learner.replay.dataset.statistics import MergedStatistics, describe
from learner.replay.dataset.swap import Generation
from learner.replay.dataset.tables import as_matrix, episodes_table, placed
from learner.replay.dataset.video import join

# Readers find an episode's row group by these; bounds of the other columns would only cost time.
_BOUNDED_COLUMNS = ["episode_index", "index", "frame_index"]


def shard_writer(where: pa.NativeFile | Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A file of frames. No dictionaries: the numbers hardly repeat within an episode."""
    return pq.ParquetWriter(
        where, schema, compression="snappy", use_dictionary=False, write_statistics=_BOUNDED_COLUMNS
    )


def write_row_groups(writer: pq.ParquetWriter, table: pa.Table, lengths: np.ndarray) -> None:
    """One row group an episode, as newer readers want it."""
    # Neighbours of the same length need one call.
    starts = np.flatnonzero(np.r_[True, lengths[1:] != lengths[:-1]])
    first = 0
    for start, stop in zip(starts, [*starts[1:], len(lengths)], strict=True):
        frames = int(lengths[start:stop].sum())
        writer.write_table(table.slice(first, frames), row_group_size=int(lengths[start]))
        first += frames


def compact(generation: Generation, state: DatasetState, spec: DatasetSpec) -> DatasetState:
    """Small neighbours become one shard each, under new numbers, as does what lies behind them. Videos keep
    their own numbers until they are joined."""
    shards, number, first = [], state.next_number, 0
    for count in groups_to_merge([shard.size for shard in state.shards]):
        group = state.shards[first : first + count]
        first += count
        if count == 1 and number == state.next_number:
            shards.append(group[0])
            continue
        if count == 1:
            _renumber(generation, group[0], number)
        else:
            _join(generation, group, number, spec)
        episodes, frames = sum(shard.episodes for shard in group), sum(shard.frames for shard in group)
        shards.append(lerobot_folder.measured(generation.root, number, episodes, frames, spec))
        number += 1
    return replace(state, shards=tuple(shards), next_number=number)


def _join(generation: Generation, group: tuple[Shard, ...], number: int, spec: DatasetSpec) -> None:
    tables = {
        pattern: pa.concat_tables(
            [read_parquet(generation.root / file_name(pattern, shard.number)) for shard in group]
        )
        for pattern in PATTERNS
    }
    if spec.images == "video":
        tables = _join_videos(generation, tables, number, spec)
    write_shard(generation, number, tables)
    _remove(generation, group)


def _renumber(generation: Generation, shard: Shard, number: int) -> None:
    episodes = read_parquet(generation.root / file_name(EPISODES_PATH, shard.number))
    for pattern in (DATA_PATH, SIDECAR_PATH):
        name = file_name(pattern, shard.number)
        generation.move_in(generation.root / name, file_name(pattern, number))
    generation.write_table(file_name(EPISODES_PATH, number), placed(episodes, number))
    generation.remove(file_name(EPISODES_PATH, shard.number))


def _join_videos(
    generation: Generation, tables: dict[str, pa.Table], number: int, spec: DatasetSpec
) -> dict[str, pa.Table]:
    """Make one video for each camera of those that the tables name; returns the tables that name it."""
    old = list(dict.fromkeys(tables[SIDECAR_PATH]["video"].to_pylist()))
    starts: list[int] = []
    for camera in spec.cameras:
        paths = [generation.root / video_name(camera, each) for each in old]
        generation.write(
            video_name(camera, number), lambda path, paths=paths: starts.extend(join(paths, path, spec.fps))
        )
        for each in old:
            generation.remove(video_name(camera, each))
    places = {each: (number, start) for each, start in zip(old, starts, strict=False)}
    sidecar = with_videos(tables[SIDECAR_PATH], places)
    episodes = tables[EPISODES_PATH]
    for name, values in episode_columns(sidecar, episodes["length"].to_numpy(), spec).items():
        episodes = with_column(episodes, name, values)
    return tables | {SIDECAR_PATH: sidecar, EPISODES_PATH: episodes}


def remove_unused_videos(generation: Generation, state: DatasetState, spec: DatasetSpec) -> None:
    """Leave out the videos that no episode of `state` is in."""
    if spec.images != "video":
        return
    tables = [
        read_parquet(generation.root / file_name(SIDECAR_PATH, shard.number), columns=["video"])
        for shard in state.shards
    ]
    used = {number for table in tables for number in table["video"].to_pylist()}
    for number in set(video_numbers(generation.root)) - used:
        for camera in spec.cameras:
            generation.remove(video_name(camera, number))


def drop_oldest(generation: Generation, state: DatasetState, count: int, spec: DatasetSpec) -> DatasetState:
    """Leave out the oldest shards; what stays counts from 0 again, under new numbers."""
    forgotten = dict(state.forgotten)
    for shard in state.shards[:count]:
        for lane, number in lerobot_folder.read_settled(generation.root, shard.number).items():
            forgotten[lane] = max(forgotten.get(lane, 0), number)
    kept = replace(state, shards=(), statistics=MergedStatistics(), forgotten=forgotten)
    for shard in state.shards[count:]:
        frames = read_parquet(generation.root / file_name(DATA_PATH, shard.number))
        sidecar = read_parquet(generation.root / file_name(SIDECAR_PATH, shard.number))
        kept = add_tables(generation, kept, spec, frames, sidecar)
    _remove(generation, state.shards)
    remove_unused_videos(generation, kept, spec)
    return kept


def add_tables(
    generation: Generation, state: DatasetState, spec: DatasetSpec, frames: pa.Table, sidecar: pa.Table
) -> DatasetState:
    """Add whole episodes as a shard; they are counted on from those of `state`.

    Args:
        frames: rows of a file of frames, episode after episode, of the same actors.
        sidecar: the same episodes.
    """
    lengths = episode_lengths(frames)
    numbers = state.episodes + np.arange(len(lengths))
    frames = with_column(frames, "episode_index", np.repeat(numbers, lengths))
    frames = with_column(frames, "index", state.frames + np.arange(len(frames)))
    statistics = with_channels(describe(as_matrix(frames, spec), lengths), statistics_of(sidecar, spec))
    number = state.next_number
    tables = {
        DATA_PATH: frames,
        SIDECAR_PATH: with_column(sidecar, "episode_index", numbers),
        EPISODES_PATH: episodes_table(
            state.episodes, state.frames, lengths, statistics, spec, number, sidecar
        ),
    }
    write_shard(generation, number, tables)
    shard = lerobot_folder.measured(generation.root, number, len(lengths), len(frames), spec)
    return replace(
        state,
        shards=(*state.shards, shard),
        next_number=number + 1,
        statistics=state.statistics.plus(statistics, lengths),
        next_position=max(state.next_position, lerobot_folder.next_position(sidecar)),
    )


def write_shard(generation: Generation, number: int, tables: dict[str, pa.Table]) -> None:
    """Write a shard's three files.

    Args:
        tables: for each of `PATTERNS`.
    """
    data, episodes = file_name(DATA_PATH, number), tables[EPISODES_PATH]

    def write(path: Path) -> None:
        # A table has a chunk for each row group that it was read from: cutting it up would be quadratic.
        frames = tables[DATA_PATH].combine_chunks()
        with shard_writer(path, frames.schema) as writer:
            write_row_groups(writer, frames, episodes["length"].to_numpy())

    generation.write(data, write)
    generation.write_table(file_name(SIDECAR_PATH, number), tables[SIDECAR_PATH])
    generation.write_table(file_name(EPISODES_PATH, number), placed(episodes, number))


def write_description(generation: Generation, state: DatasetState, spec: DatasetSpec) -> None:
    """What holds for the whole dataset; info.json last."""
    if not (generation.root / TASKS_PATH).exists():
        tasks = pd.DataFrame({"task_index": [0]}, index=[spec.task])
        generation.write(TASKS_PATH, tasks.to_parquet)
    generation.write_json(ORIGIN_PATH, spec.origin(list(state.actors), state.forgotten))
    generation.write_json(STATS_PATH, state.statistics.as_json(spec.slices(), image_features(spec)))
    generation.write_json(INFO_PATH, spec.info(state.episodes, state.frames))


def _remove(generation: Generation, shards: tuple[Shard, ...]) -> None:
    for shard in shards:
        for pattern in PATTERNS:
            generation.remove(file_name(pattern, shard.number))
