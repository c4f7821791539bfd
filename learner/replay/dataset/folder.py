"""Reading what a dataset's folder holds: for a writer that goes on, and for the tools."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from learner.replay.dataset.compaction import Shard
from learner.replay.dataset.episodes import Lane
from learner.replay.dataset.format import DatasetError, DatasetSpec, read_parquet
from learner.replay.dataset.layout import (
    DATA_PATH,
    INFO_PATH,
    ORIGIN_PATH,
    PATTERNS,
    SIDECAR_PATH,
    STATS_PATH,
    file_name,
    file_number,
    video_name,
    video_numbers,
)
from learner.replay.dataset.statistics import MergedStatistics
from learner.replay.dataset.swap import UnreadableError, held

# In what two datasets must agree, so that one can go on where the other ends.
SAME_KIND = (
    "task", "fps", "robot_type", "observation_dim", "action_dim", "state_dim", "residual_every", "cameras",
    "images",
)  # fmt: skip


@dataclass(frozen=True)
class DatasetState:
    """What a dataset holds."""

    shards: tuple[Shard, ...] = ()
    next_number: int = 0
    statistics: MergedStatistics = field(default_factory=MergedStatistics)
    actors: tuple[str, ...] = ()
    settled: dict[Lane, int] = field(default_factory=dict)
    """Episodes from 0 of each lane that are on disk, or were and had to go."""
    forgotten: dict[Lane, int] = field(default_factory=dict)
    """The same for lanes with episodes that had to go."""
    next_position: int = 0
    """Behind the newest decision's place in the stream of rows."""

    @property
    def episodes(self) -> int:
        return sum(shard.episodes for shard in self.shards)

    @property
    def frames(self) -> int:
        return sum(shard.frames for shard in self.shards)


@contextlib.contextmanager
def standing(folder: Path) -> Iterator[Path]:
    """A dataset as it stands now, even if a run is writing to it; see `generations.held`.

    Raises:
        DatasetError: it changes faster than it can be opened, one of its files cannot be opened, or what
            was raised inside, with the name of `folder` in it.
    """
    try:
        with held(folder) as view:
            try:
                yield view
            except DatasetError as error:
                raise DatasetError(str(error).replace(str(view), str(folder))) from error
    except (BlockingIOError, UnreadableError) as error:
        raise DatasetError(str(error)) from error


class BrokenError(DatasetError):
    """A file of a dataset that cannot be read."""


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the dataset.

    Raises:
        DatasetError: it is missing; a BrokenError if it is broken.
    """
    try:
        return json.loads((folder / name).read_text())
    except FileNotFoundError:
        raise DatasetError(f"{folder} is no LeRobot dataset: it has no {name}") from None
    except ValueError as error:
        raise BrokenError(f"{folder / name} is broken: {error}") from error


def read_info(folder: Path) -> dict[str, Any]:
    """info.json of a dataset in the format v3.0.

    Raises:
        DatasetError: no dataset, or one of another version.
    """
    info = read_json(folder, INFO_PATH)
    version = info.get("codebase_version")
    if version != "v3.0":
        raise DatasetError(
            f"{folder} has LeRobot's format {version}, not v3.0: "
            "convert it with python -m lerobot.scripts.convert_dataset_v21_to_v30"
        )
    return info


def read_spec(folder: Path) -> DatasetSpec:
    """What the replay's writer was told of a dataset of its own.

    Raises:
        DatasetError: written by something else.
    """
    if not (folder / ORIGIN_PATH).exists():
        raise DatasetError(
            f"{folder} was not written by this replay (no {ORIGIN_PATH}): "
            "use it as prior data, or edit it with lerobot-edit-dataset"
        )
    origin = read_json(folder, ORIGIN_PATH)
    try:
        # Replays from before there were cameras do not mention any.
        said = {"cameras": {}, "images": None} | origin
        return DatasetSpec(**{field.name: said[field.name] for field in dataclasses.fields(DatasetSpec)})
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder / ORIGIN_PATH} is broken: {error!r}") from error


def read_whole_spec(folder: Path) -> DatasetSpec:
    """The same of a dataset that has all the columns that the writer gave it.

    Raises:
        DatasetError: another version, written by something else, or without some columns; says which.
    """
    info, spec = read_info(folder), read_spec(folder)
    missing = spec.features().keys() - info["features"].keys()
    if missing:
        raise DatasetError(f"{folder} lacks the columns {', '.join(sorted(missing))}")
    return spec


def read_forgotten(folder: Path) -> dict[Lane, int]:
    """Episodes of each lane that had to go."""
    settled = read_json(folder, ORIGIN_PATH)["settled"]
    return {(actor, session, sub_env): count for actor, session, sub_env, count in settled}


def read_committed(folder: Path, spec: DatasetSpec) -> DatasetState:
    """The state from which a writer goes on.

    Raises:
        DatasetError: not a dataset of `spec`; says in what they differ.
    """
    found = read_whole_spec(folder)
    for key in SAME_KIND:
        ours, theirs = getattr(spec, key), getattr(found, key)
        if ours != theirs and not (key == "residual_every" and ours is None):
            raise DatasetError(f"{folder} holds a replay with {key} {theirs}, not {ours}")
    forgotten = read_forgotten(folder)
    settled, position = dict(forgotten), 0
    shards = read_shards(folder, found)
    for shard in shards:
        for lane, count in read_settled(folder, shard.number).items():
            settled[lane] = max(settled.get(lane, 0), count)
        table = read_parquet(folder / file_name(SIDECAR_PATH, shard.number), columns=["positions"])
        position = max(position, next_position(table))
    return DatasetState(
        shards=tuple(shards),
        next_number=max([*(shard.number for shard in shards), *video_numbers(folder)], default=-1) + 1,
        statistics=MergedStatistics.from_json(read_json(folder, STATS_PATH), spec.slices()),
        actors=tuple(read_json(folder, ORIGIN_PATH)["actors"]),
        settled=settled,
        forgotten=forgotten,
        next_position=position,
    )


def read_shards(folder: Path, spec: DatasetSpec) -> list[Shard]:
    """The dataset's shards, oldest first.

    Raises:
        DatasetError: a file is missing.
    """
    shards = []
    for path in sorted((folder / "meta/episodes").glob("*/*.parquet")):
        lengths = read_parquet(path, columns=["length"])["length"]
        shards.append(measured(folder, file_number(path), len(lengths), pc.sum(lengths).as_py(), spec))
    return shards


def measured(folder: Path, number: int, episodes: int, frames: int, spec: DatasetSpec) -> Shard:
    """A shard whose files are in `folder`.

    Raises:
        DatasetError: a file is missing.
    """
    names = [file_name(pattern, number) for pattern in PATTERNS]
    try:
        if spec.images == "video":
            videos = read_parquet(folder / file_name(SIDECAR_PATH, number), columns=["video"])["video"]
            names += [video_name(camera, n) for n in videos.unique().to_pylist() for camera in spec.cameras]
        sizes = {name: (folder / name).stat().st_size for name in names}
    except FileNotFoundError as error:
        raise DatasetError(
            f"{error.filename} is missing: python -m learner.replay repair {folder} keeps what comes before"
        ) from error
    return Shard(number, episodes, frames, sizes[file_name(DATA_PATH, number)], sum(sizes.values()))


def read_settled(folder: Path, number: int) -> dict[Lane, int]:
    """For each lane in a shard, one more than its newest episode."""
    names = ["actor_id", "session", "sub_env"]
    table = read_parquet(folder / file_name(SIDECAR_PATH, number), columns=[*names, "episode"])
    newest = table.group_by(names).aggregate([("episode", "max")]).to_pydict()
    lanes = zip(*(newest[name] for name in (*names, "episode_max")), strict=True)
    return {(actor, session, sub_env): episode + 1 for actor, session, sub_env, episode in lanes}


def next_position(sidecar: pa.Table) -> int:
    """Behind the newest decision of a shard, and its final observation."""
    flat = sidecar["positions"].combine_chunks().flatten()
    return int(pc.max(flat).as_py()) + 2 if len(flat) else 0
