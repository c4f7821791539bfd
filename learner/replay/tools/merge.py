"""A new dataset from a part of one, or from several."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from learner.replay.dataset.folder import (
    SAME_KIND,
    DatasetState,
    read_forgotten,
    read_json,
    read_spec,
    read_whole_spec,
    standing,
)
from learner.replay.dataset.format import (
    DatasetError,
    DatasetSpec,
    episode_lengths,
    read_parquet,
    with_column,
)
from learner.replay.dataset.images import with_videos
from learner.replay.dataset.layout import ORIGIN_PATH, SIDECAR_PATH, file_name, file_number, video_name
from learner.replay.dataset.shard_files import (
    add_tables,
    compact,
    write_description,
)
from learner.replay.dataset.swap import Generation
from learner.replay.tools.verify import (
    parquet_files,
)


@dataclass(frozen=True)
class Selection:
    """Which episodes an export keeps; None keeps all."""

    successes: bool = False
    after_version: int | None = None
    """Episodes whose first decision came from a later weights version."""
    actors: tuple[str, ...] = ()

    def __str__(self) -> str:
        wanted = ["with a success"] if self.successes else []
        if self.after_version is not None:
            wanted.append(f"begun after version {self.after_version}")
        if self.actors:
            wanted.append(f"of {' or '.join(self.actors)}")
        return " and ".join(wanted)

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


def export(source: Path, target: Path, selection: Selection) -> DatasetState:
    """Write the selected episodes as a new dataset.

    Raises:
        DatasetError: `source` is not a dataset of this replay, `target` exists, or nothing is selected.
    """
    return merge([source], target, selection)


def merge(sources: Sequence[Path], target: Path, selection: Selection | None = None) -> DatasetState:
    """Write the episodes of all `sources`, each as it stands now, one after the other as a new dataset.

    Raises:
        DatasetError: a source is not a dataset of this replay, or of another kind than the first;
            `target` exists; nothing is selected; an episode is in two sources.
    """
    if target.exists():
        raise DatasetError(f"{target} exists already: name a new folder")
    with contextlib.ExitStack() as views:
        return _merge([views.enter_context(standing(source)) for source in sources], target, selection)


def _merge(sources: Sequence[Path], target: Path, selection: Selection | None) -> DatasetState:
    spec = replace(read_whole_spec(sources[0]), repo_id=target.name)
    for source in sources:
        _check_same_kind(sources[0], source)
    target.parent.mkdir(parents=True, exist_ok=True)
    generation, state, seen = Generation(target), DatasetState(), set[tuple[str, int, int, int]]()
    for source in sources:
        state = _add_dataset(generation, state, spec, source, selection or Selection(), seen)
    if not state.shards:
        shutil.rmtree(generation.root)
        raise DatasetError(
            f"no episode is left to write, none is {selection}: the actors are {', '.join(state.actors)}"
        )
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


def _check_same_kind(first: Path, other: Path) -> None:
    ours, theirs = read_spec(first), read_whole_spec(other)
    for key in SAME_KIND:
        if getattr(ours, key) != getattr(theirs, key):
            raise DatasetError(f"{other} has {key} {getattr(theirs, key)}, {first} {getattr(ours, key)}")


def _add_dataset(
    generation: Generation,
    state: DatasetState,
    spec: DatasetSpec,
    source: Path,
    selection: Selection,
    seen: set[tuple[str, int, int, int]],
) -> DatasetState:
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
    generation: Generation, state: DatasetState, spec: DatasetSpec, source: Path, sidecar: pa.Table
) -> tuple[pa.Table, DatasetState]:
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
            actor_id, session, sub_env, episode = identity
            raise DatasetError(
                f"{source}: episode {episode} of {actor_id} (session {session}, sub-environment {sub_env}) "
                "is in an earlier dataset already: merge datasets that share none"
            )
        seen.add(identity)
