"""Makes new shards from old ones: merges them, renumbers their episodes, drops the oldest."""

from dataclasses import replace

import pyarrow as pa

from learner.replay.dataset.arrow import column, read_parquet, values, with_column
from learner.replay.dataset.compaction import Shard, groups_to_merge
from learner.replay.dataset.format import layout
from learner.replay.dataset.format.images import episode_columns, with_videos
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.format.statistics import MergedStatistics
from learner.replay.dataset.format.tables import placed
from learner.replay.dataset.format.video import join
from learner.replay.dataset.manifest import Manifest, latest, read_episodes_done, shard_on_disk
from learner.replay.dataset.shard_files import add_tables, write_shard
from learner.replay.dataset.swap import StagedFolder


def compact(staged: StagedFolder, manifest: Manifest, spec: DatasetSpec) -> Manifest:
    """Merge small neighbours; merged shards and all that follow them have new numbers. Videos keep theirs
    until they are joined."""
    shards: list[Shard] = []
    number, first = manifest.next_number, 0
    for count in groups_to_merge([shard.size for shard in manifest.shards]):
        group = manifest.shards[first : first + count]
        first += count
        if count == 1 and number == manifest.next_number:
            shards.append(group[0])
            continue
        if count == 1:
            _renumber(staged, group[0], number)
        else:
            _join(staged, group, number, spec)
        episodes, frames = sum(shard.episodes for shard in group), sum(shard.frames for shard in group)
        shards.append(shard_on_disk(staged.root, number, episodes, frames, spec))
        number += 1
    return replace(manifest, shards=tuple(shards), next_number=number)


def _join(staged: StagedFolder, group: tuple[Shard, ...], number: int, spec: DatasetSpec) -> None:
    tables = {
        pattern: pa.concat_tables(
            [read_parquet(staged.root / layout.file_name(pattern, shard.number)) for shard in group]
        )
        for pattern in layout.PATTERNS
    }
    if spec.videos:
        tables = _join_videos(staged, tables, number, spec)
    write_shard(staged, number, tables)
    _remove(staged, group)


def _renumber(staged: StagedFolder, shard: Shard, number: int) -> None:
    episodes = read_parquet(staged.root / layout.file_name(layout.EPISODES_PATH, shard.number))
    for pattern in (layout.DATA_PATH, layout.SIDECAR_PATH):
        name = layout.file_name(pattern, shard.number)
        staged.move_in(staged.root / name, layout.file_name(pattern, number))
    staged.write_table(layout.file_name(layout.EPISODES_PATH, number), placed(episodes, number))
    staged.remove(layout.file_name(layout.EPISODES_PATH, shard.number))


def _join_videos(
    staged: StagedFolder, tables: dict[str, pa.Table], number: int, spec: DatasetSpec
) -> dict[str, pa.Table]:
    """Join the videos that the tables name to one for each camera; returns the tables that name it."""
    old = list(dict.fromkeys(values(tables[layout.SIDECAR_PATH], "video")))
    starts: list[int] = []
    for camera in spec.videos:
        paths = [staged.root / layout.video_name(camera, each) for each in old]
        staged.write(
            layout.video_name(camera, number),
            lambda path, paths=paths: starts.extend(join(paths, path, spec.fps)),
        )
        for each in old:
            staged.remove(layout.video_name(camera, each))
    moves = {each: (number, start) for each, start in zip(old, starts, strict=False)}
    sidecar = with_videos(tables[layout.SIDECAR_PATH], moves)
    episodes = tables[layout.EPISODES_PATH]
    for name, places in episode_columns(sidecar, column(episodes, "length"), spec).items():
        episodes = with_column(episodes, name, places)
    return tables | {layout.SIDECAR_PATH: sidecar, layout.EPISODES_PATH: episodes}


def remove_unused_videos(staged: StagedFolder, manifest: Manifest, spec: DatasetSpec) -> None:
    """Leave out the videos that no episode of `manifest` needs."""
    if not spec.videos:
        return
    tables = [
        read_parquet(staged.root / layout.file_name(layout.SIDECAR_PATH, shard.number), columns=["video"])
        for shard in manifest.shards
    ]
    used = {number for table in tables for number in values(table, "video")}
    for number in set(layout.video_numbers(staged.root)) - used:
        for camera in spec.videos:
            staged.remove(layout.video_name(camera, number))


def drop_oldest(staged: StagedFolder, manifest: Manifest, count: int, spec: DatasetSpec) -> Manifest:
    """Leave out the oldest shards; the other episodes count from 0 again, in shards with new numbers."""
    dropped = manifest.episodes_dropped
    for shard in manifest.shards[:count]:
        dropped = latest(dropped, read_episodes_done(staged.root, shard.number))
    kept = replace(manifest, shards=(), statistics=MergedStatistics(), episodes_dropped=dropped)
    for shard in manifest.shards[count:]:
        frames = read_parquet(staged.root / layout.file_name(layout.DATA_PATH, shard.number))
        sidecar = read_parquet(staged.root / layout.file_name(layout.SIDECAR_PATH, shard.number))
        kept = add_tables(staged, kept, spec, frames, sidecar)
    _remove(staged, manifest.shards)
    remove_unused_videos(staged, kept, spec)
    return kept


def _remove(staged: StagedFolder, shards: tuple[Shard, ...]) -> None:
    for shard in shards:
        for pattern in layout.PATTERNS:
            staged.remove(layout.file_name(pattern, shard.number))
