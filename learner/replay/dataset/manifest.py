"""Which shards a dataset has, and what else a writer needs to continue it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from learner.replay.dataset.arrow import column, flattened, read_parquet, values
from learner.replay.dataset.compaction import Shard
from learner.replay.dataset.episode import Lane
from learner.replay.dataset.format import layout
from learner.replay.dataset.format.spec import SAME_KIND, DatasetError, DatasetSpec
from learner.replay.dataset.format.statistics import MergedStatistics
from learner.replay.dataset.keep import Played
from learner.replay.dataset.read import read_complete_spec, read_json


@dataclass(frozen=True)
class Manifest:
    """Which shards a dataset has, and what a writer has to know to continue it."""

    shards: tuple[Shard, ...] = ()
    next_number: int = 0
    statistics: MergedStatistics = field(default_factory=MergedStatistics)
    actors: tuple[str, ...] = ()
    episodes_done: dict[Lane, int] = field(default_factory=dict[Lane, int])
    """For each lane, how many episodes from 0 are on disk, or were and were dropped for the budget."""
    episodes_dropped: dict[Lane, int] = field(default_factory=dict[Lane, int])
    """The same for lanes with episodes that were dropped, or were not to be kept, up to the last of these."""
    played: Played = Played()
    next_position: int = 0
    """Behind the newest decision's position in the stream of rows."""

    @property
    def episodes(self) -> int:
        return sum(shard.episodes for shard in self.shards)

    @property
    def frames(self) -> int:
        return sum(shard.frames for shard in self.shards)


def read_episodes_dropped(folder: Path) -> dict[Lane, int]:
    """See `Manifest.episodes_dropped`."""
    dropped = read_json(folder, layout.ORIGIN_PATH)["settled"]
    return {(actor, session, sub_env): count for actor, session, sub_env, count in dropped}


def latest(one: Mapping[Lane, int], other: Mapping[Lane, int]) -> dict[Lane, int]:
    """Both, with the larger number of each lane."""
    return {lane: max(one.get(lane, 0), other.get(lane, 0)) for lane in [*one, *(other.keys() - one.keys())]}


def read_manifest(folder: Path, spec: DatasetSpec) -> Manifest:
    """What a writer of `spec` continues.
    Raises DatasetError: not a dataset of `spec`; says in what they differ."""
    found = read_complete_spec(folder)
    for key in SAME_KIND:
        ours, theirs = getattr(spec, key), getattr(found, key)
        if ours != theirs and not (key == "residual_every" and ours is None):
            raise DatasetError(f"{folder} holds a replay with {key} {theirs}, not {ours}")
    dropped = read_episodes_dropped(folder)
    done, position = dropped, 0
    shards = read_shards(folder, found)
    for shard in shards:
        done = latest(done, read_episodes_done(folder, shard.number))
        table = read_parquet(
            folder / layout.file_name(layout.SIDECAR_PATH, shard.number), columns=["positions"]
        )
        position = max(position, next_position(table))
    return Manifest(
        shards=tuple(shards),
        next_number=max([*(shard.number for shard in shards), *layout.video_numbers(folder)], default=-1) + 1,
        statistics=MergedStatistics.from_json(read_json(folder, layout.STATS_PATH), spec.slices()),
        actors=tuple(read_json(folder, layout.ORIGIN_PATH)["actors"]),
        episodes_done=done,
        episodes_dropped=dropped,
        played=Played(*read_json(folder, layout.ORIGIN_PATH).get("played", Played())),
        next_position=position,
    )


def read_shards(folder: Path, spec: DatasetSpec) -> list[Shard]:
    """The dataset's shards, oldest first. Raises DatasetError: a file is missing."""
    shards: list[Shard] = []
    for path in layout.parquet_files(folder / "meta/episodes"):
        lengths = column(read_parquet(path, columns=["length"]), "length")
        shards.append(shard_on_disk(folder, layout.file_number(path), len(lengths), int(lengths.sum()), spec))
    return shards


def shard_on_disk(folder: Path, number: int, episodes: int, frames: int, spec: DatasetSpec) -> Shard:
    """A shard whose files are in `folder`. Raises DatasetError: a file is missing."""
    names = [layout.file_name(pattern, number) for pattern in layout.PATTERNS]
    try:
        if spec.videos:
            videos = values(
                read_parquet(folder / layout.file_name(layout.SIDECAR_PATH, number), columns=["video"]),
                "video",
            )
            names += [layout.video_name(camera, video) for video in set(videos) for camera in spec.videos]
        sizes = {name: (folder / name).stat().st_size for name in names}
    except FileNotFoundError as error:
        raise DatasetError(
            f"{error.filename} is missing: residual-rl replay repair {folder} keeps what comes before"
        ) from error
    return Shard(
        number, episodes, frames, sizes[layout.file_name(layout.DATA_PATH, number)], sum(sizes.values())
    )


def read_episodes_done(folder: Path, number: int) -> dict[Lane, int]:
    """For each lane in a shard, one more than its newest episode."""
    names = ["actor_id", "session", "sub_env", "episode"]
    table = read_parquet(folder / layout.file_name(layout.SIDECAR_PATH, number), columns=names)
    done: dict[Lane, int] = {}
    for actor, session, sub_env, episode in zip(*(values(table, name) for name in names), strict=True):
        lane = (actor, session, sub_env)
        done[lane] = max(done.get(lane, 0), episode + 1)
    return done


def next_position(sidecar: pa.Table) -> int:
    """Behind the newest decision of a shard, and its final observation."""
    flat = flattened(sidecar, "positions")
    return int(flat.max()) + 2 if len(flat) else 0
