"""Whole episodes -> LeRobot v3.0 files. At every moment the folder is a dataset of what was committed."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.dataset.arrow import Array, fixed_lists, make_table
from learner.replay.dataset.compaction import FULL_BYTES, Budget, groups_to_merge, oldest_to_drop
from learner.replay.dataset.episode import Episode, Lane
from learner.replay.dataset.format.images import image_columns, image_statistics, with_channels
from learner.replay.dataset.format.layout import DATA_PATH, EPISODES_PATH, SIDECAR_PATH, file_name, video_name
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.format.statistics import describe
from learner.replay.dataset.format.tables import episodes_table, frame_columns, sidecar_table
from learner.replay.dataset.format.video import VideoWriter
from learner.replay.dataset.keep import CollectionLimits, Keep
from learner.replay.dataset.manifest import Manifest, latest, next_position, read_manifest, shard_on_disk
from learner.replay.dataset.read import read_spec
from learner.replay.dataset.rewrite import compact, drop_oldest
from learner.replay.dataset.shard_files import shard_writer, write_description, write_row_groups
from learner.replay.dataset.swap import StagedFolder, recover, remove, sibling
from learner.replay.dataset.watch import ReaderWatch


@dataclass
class _OpenShard:
    """The shard that grows, outside of the folder; its lists have an entry for each `append`."""

    file: pa.NativeFile
    writer: pq.ParquetWriter
    lengths: list[Array] = field(default_factory=list[Array])
    statistics: list[Array] = field(default_factory=list[Array])
    episodes: list[Episode] = field(default_factory=list[Episode])
    frames: int = 0
    videos: dict[str, VideoWriter] = field(default_factory=dict[str, VideoWriter])


class LeRobotWriter:
    """Appends episodes to an open shard; `commit` makes them part of the dataset.

    A commit swaps whole folders (`swap.py`), so that readers, and a process that starts after a crash,
    see all of it or nothing. Files are removed when no reader is opening the dataset (`watch.py`), or when
    `hurry` is set. Not safe for several threads.

    Args:
        folder: missing, empty, or a dataset of the same `spec`, which is continued.
        keep: which episodes the dataset gets; None: all.

    Raises:
        DatasetError: the folder contains something else; the message says what.
    """

    def __init__(
        self, folder: Path, spec: DatasetSpec, budget: Budget | None = None, keep: Keep | None = None
    ) -> None:
        self._folder, self.spec, self._budget = folder, spec, budget or Budget()
        self._keep = keep or Keep(CollectionLimits())
        recover(folder)
        self.committed = Manifest()
        if folder.exists() and any(folder.iterdir()):
            self.committed = read_manifest(folder, spec)
            self.spec = read_spec(folder)
        self._keep.played = self.committed.played
        self._actors = list(self.committed.actors)
        self._left_out: dict[Lane, int] = {}
        self._open: _OpenShard | None = None
        self._readers = ReaderWatch(folder)
        self.hurry = threading.Event()

    @property
    def full(self) -> bool:
        """The open shard is as large as LeRobot lets a file be."""
        return self._open is not None and self._open.file.tell() >= FULL_BYTES

    def append(self, ended: list[Episode]) -> None:
        """Write those of the episodes that are to be kept, each as one row group, into the open shard."""
        episodes = self._keep.choose(ended)
        kept = {episode.identity for episode in episodes}
        self._left_out |= {each.lane: each.number + 1 for each in ended if each.identity not in kept}
        if episodes:
            self._write(episodes)

    def _write(self, episodes: list[Episode]) -> None:
        if self.spec.residual_every is None:
            self.spec = replace(self.spec, residual_every=len(episodes[0].last_base_plan))
        before = 0 if self._open is None else len(self._open.episodes)
        columns = frame_columns(
            episodes,
            self.spec,
            actors=[self._actor(episode.lane[0]) for episode in episodes],
            first_episode=self.committed.episodes + before,
            first_index=self.committed.frames + (0 if self._open is None else self._open.frames),
        )
        plain = {name: fixed_lists(values) for name, values in columns.items()}
        table = make_table({**plain, **image_columns(episodes, self.spec)})
        if self._open is None:
            self._open = self._open_shard(table.schema)
        lengths = np.array([len(episode) for episode in episodes])
        write_row_groups(self._open.writer, table, lengths)
        matrix = np.column_stack([*columns.values()]).astype(np.float64, copy=False)
        self._open.statistics.append(
            with_channels(describe(matrix, lengths), image_statistics(episodes, self.spec))
        )
        self._open.lengths.append(lengths)
        for camera, video in self._open.videos.items():
            for episode in episodes:
                video.add(episode.images[camera])
        if self.spec.cameras:
            # Images are written: only the final one of each episode is needed again.
            episodes = [replace(episode, images={}) for episode in episodes]
        self._open.episodes += episodes
        self._open.frames += len(table)

    def commit(self) -> None:
        """Close the shard and make its episodes part of the dataset, and note which were left out; does
        nothing if there are none, or if there would be no dataset."""
        if self._open is None and not (self._left_out and self.committed.shards):
            return
        staged = StagedFolder(self._folder)
        manifest = self.committed
        if self._open is not None:
            manifest = self._add_shard(staged, manifest, self._open)
        manifest = replace(
            manifest,
            episodes_done=latest(manifest.episodes_done, self._left_out),
            episodes_dropped=latest(manifest.episodes_dropped, self._left_out),
            played=self._keep.played,
        )
        count = oldest_to_drop(manifest.shards, self._budget)
        if count and self._readers.busy():
            count = 0  # dropped at a later commit
        if count:
            manifest = drop_oldest(staged, manifest, count, self.spec)
        self._swap_in(staged, manifest, removes_files=count > 0)
        self._open, self._left_out = None, {}

    def compact(self) -> None:
        """Stay within the budget and merge small files, unless they are on hold. For the end: this rewrites
        files and waits for readers."""
        if self._readers.on_hold():
            return
        manifest = self.committed
        count = oldest_to_drop(manifest.shards, self._budget)
        if count or max(groups_to_merge([shard.size for shard in manifest.shards]), default=1) > 1:
            staged = StagedFolder(self._folder)
            if count:
                manifest = drop_oldest(staged, manifest, count, self.spec)
            self._swap_in(staged, compact(staged, manifest, self.spec), removes_files=True)

    def _swap_in(self, staged: StagedFolder, manifest: Manifest, *, removes_files: bool) -> None:
        write_description(staged, manifest, self.spec)
        if removes_files:
            staged.swap_in(wait=lambda: self._readers.wait(self.hurry))
        else:
            staged.swap_in()
        self._readers.restart()
        self.committed = manifest

    def _actor(self, actor_id: str) -> int:
        """The value of the column `actor`."""
        if actor_id not in self._actors:
            self._actors.append(actor_id)
        return self._actors.index(actor_id)

    def _open_shard(self, schema: pa.Schema) -> _OpenShard:
        path = sibling(self._folder, "shard")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = pa.OSFile(str(path), "wb")
        videos = {
            camera: VideoWriter(sibling(self._folder, "videos") / f"{camera}.mp4", self.spec.fps, *size)
            for camera, size in self.spec.cameras.items()
            if camera in self.spec.videos
        }
        return _OpenShard(file, shard_writer(file, schema), videos=videos)

    def _add_shard(self, staged: StagedFolder, manifest: Manifest, opened: _OpenShard) -> Manifest:
        opened.writer.close()
        opened.file.close()
        number = manifest.next_number
        staged.move_in(sibling(self._folder, "shard"), file_name(DATA_PATH, number))
        for camera, video in opened.videos.items():
            video.close()
            staged.move_in(video.path, video_name(camera, number))
        if opened.videos:
            remove(sibling(self._folder, "videos"))
        lengths, statistics = np.concatenate(opened.lengths), np.concatenate(opened.statistics)
        pictures = statistics[..., statistics.shape[2] - self.spec.image_channels :]
        sidecar = sidecar_table(opened.episodes, manifest.episodes, self.spec, pictures, number)
        staged.write_table(file_name(SIDECAR_PATH, number), sidecar)
        episodes = episodes_table(
            manifest.episodes, manifest.frames, lengths, statistics, self.spec, number, sidecar
        )
        staged.write_table(file_name(EPISODES_PATH, number), episodes)
        done = {episode.lane: episode.number + 1 for episode in opened.episodes}
        shard = shard_on_disk(staged.root, number, len(lengths), opened.frames, self.spec)
        return replace(
            manifest,
            shards=(*manifest.shards, shard),
            next_number=number + 1,
            statistics=manifest.statistics.plus(statistics, lengths),
            actors=tuple(self._actors),
            episodes_done=latest(manifest.episodes_done, done),
            next_position=max(manifest.next_position, next_position(sidecar)),
        )
