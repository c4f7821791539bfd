"""A new dataset from a part of one, or from several."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import (
    Array,
    column,
    episode_lengths,
    read_parquet,
    values,
    with_added,
    with_column,
)
from learner.replay.dataset.format import layout
from learner.replay.dataset.format.images import with_videos
from learner.replay.dataset.format.spec import SAME_KIND, DatasetError, DatasetSpec
from learner.replay.dataset.manifest import Manifest, latest, read_episodes_dropped
from learner.replay.dataset.read import open_snapshot, read_complete_spec, read_json, read_spec
from learner.replay.dataset.rewrite import compact
from learner.replay.dataset.shard_files import add_tables, write_description
from learner.replay.dataset.swap import StagedFolder

type Identity = tuple[str, int, int, int]
"""Actor id, session, sub-environment, episode."""


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

    def keeps(self, frames: pa.Table, sidecar: pa.Table) -> Array:
        """b1 (E,) for the episodes in these tables."""
        lengths = episode_lengths(frames)
        starts = np.cumsum(lengths) - lengths
        kept = np.ones(len(lengths), bool)
        if self.successes:
            kept &= np.maximum.reduceat(column(frames, "next.success"), starts)
        if self.after_version is not None:
            kept &= column(frames, "weights_version")[starts] > self.after_version
        if self.actors:
            kept &= np.isin(values(sidecar, "actor_id"), self.actors)
        return kept


def export(source: Path, target: Path, selection: Selection) -> Manifest:
    """Write the selected episodes as a new dataset.
    Raises DatasetError: `source` is not a dataset of this replay, `target` exists, or nothing is selected."""
    return merge([source], target, selection)


def merge(sources: Sequence[Path], target: Path, selection: Selection | None = None) -> Manifest:
    """Write the episodes of the present versions of all `sources`, one after the other, as a new dataset.
    Raises DatasetError: a source is not a dataset of this replay, or of another kind than the first; `target`
    exists; nothing is selected; an episode is in two sources."""
    if target.exists():
        raise DatasetError(f"{target} exists already: name a new folder")
    with contextlib.ExitStack() as views:
        return _merge([views.enter_context(open_snapshot(source)) for source in sources], target, selection)


def _merge(sources: Sequence[Path], target: Path, selection: Selection | None) -> Manifest:
    spec = replace(read_complete_spec(sources[0]), repo_id=target.name)
    for source in sources:
        _check_same_kind(sources[0], source)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged, manifest, seen = StagedFolder(target), Manifest(), set[Identity]()
    for source in sources:
        manifest = _add_dataset(staged, manifest, spec, source, selection or Selection(), seen)
    if not manifest.shards:
        shutil.rmtree(staged.root)
        raise DatasetError(
            f"no episode is left to write, none is {selection}: the actors are {', '.join(manifest.actors)}"
        )
    manifest = compact(staged, manifest, spec)
    write_description(staged, manifest, spec)
    staged.swap_in()
    return manifest


def read_tables(folder: Path) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The frames and the sidecar of each shard, oldest first.
    Raises DatasetError: a file is missing or broken."""
    names = read_spec(folder).table_columns()
    for path in layout.parquet_files(folder / "data"):
        other = folder / layout.file_name(layout.SIDECAR_PATH, layout.file_number(path))
        try:
            frames, sidecar = read_parquet(path), read_parquet(other)
            if lacking := names - set(frames.column_names):
                raise DatasetError(f"{path} lacks the columns {', '.join(sorted(lacking))}")
            yield frames, sidecar
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{folder} is damaged (repair it first): {error}") from error


def _check_same_kind(first: Path, other: Path) -> None:
    ours, theirs = read_spec(first), read_complete_spec(other)
    for key in SAME_KIND:
        if getattr(ours, key) != getattr(theirs, key):
            raise DatasetError(f"{other} has {key} {getattr(theirs, key)}, {first} {getattr(ours, key)}")


def _add_dataset(
    staged: StagedFolder,
    manifest: Manifest,
    spec: DatasetSpec,
    source: Path,
    selection: Selection,
    seen: set[Identity],
) -> Manifest:
    names = read_json(source, layout.ORIGIN_PATH)["actors"]
    actors = [*manifest.actors, *(name for name in names if name not in manifest.actors)]
    numbers = np.array([actors.index(name) for name in names])
    dropped = latest(manifest.episodes_dropped, read_episodes_dropped(source))
    manifest = replace(manifest, actors=tuple(actors), episodes_dropped=dropped)
    positions = manifest.next_position
    for frames, sidecar in read_tables(source):
        kept = selection.keeps(frames, sidecar)
        if not kept.any():
            continue
        frames = frames.filter(pa.array(np.repeat(kept, episode_lengths(frames))))
        frames = with_column(frames, "actor", numbers[column(frames, "actor")])
        sidecar = with_added(sidecar.filter(pa.array(kept)), "positions", positions)
        _check_new(sidecar, seen, source)
        if spec.videos:
            sidecar, manifest = _link_videos(staged, manifest, spec, source, sidecar)
        manifest = add_tables(staged, manifest, spec, frames, sidecar)
    return manifest


def _link_videos(
    staged: StagedFolder, manifest: Manifest, spec: DatasetSpec, source: Path, sidecar: pa.Table
) -> tuple[pa.Table, Manifest]:
    """Link to the videos of these episodes, under new numbers; other episodes may be in them too."""
    places: dict[int, tuple[int, int]] = {}
    for number in dict.fromkeys(values(sidecar, "video")):
        for camera in spec.videos:
            path = source / layout.video_name(camera, number)
            if not path.exists():
                raise DatasetError(f"{path} is missing: repair {source} first")
            staged.link_in(path, layout.video_name(camera, manifest.next_number))
        places[number] = (manifest.next_number, 0)
        manifest = replace(manifest, next_number=manifest.next_number + 1)
    return with_videos(sidecar, places), manifest


def _check_new(sidecar: pa.Table, seen: set[Identity], source: Path) -> None:
    columns = (values(sidecar, name) for name in ("actor_id", "session", "sub_env", "episode"))
    for identity in zip(*columns, strict=True):
        if identity in seen:
            actor_id, session, sub_env, episode = identity
            raise DatasetError(
                f"{source}: episode {episode} of {actor_id} (session {session}, sub-environment {sub_env}) "
                "is in an earlier dataset already: merge datasets that share none"
            )
        seen.add(identity)
