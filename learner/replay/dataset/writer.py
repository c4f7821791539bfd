"""Whole episodes -> LeRobot v3.0 files. At every moment the folder is a dataset of what was committed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.dataset import folder as lerobot_folder
from learner.replay.dataset import swap as generations
from learner.replay.dataset.compaction import FULL_BYTES, Budget, groups_to_merge, oldest_to_drop
from learner.replay.dataset.episodes import Episode
from learner.replay.dataset.folder import DatasetState
from learner.replay.dataset.format import DatasetSpec
from learner.replay.dataset.images import image_columns, image_statistics, with_channels
from learner.replay.dataset.layout import DATA_PATH, EPISODES_PATH, SIDECAR_PATH, file_name, video_name
from learner.replay.dataset.shard_files import (
    compact,
    drop_oldest,
    shard_writer,
    write_description,
    write_row_groups,
)
from learner.replay.dataset.statistics import describe
from learner.replay.dataset.swap import Generation, beside, recover
from learner.replay.dataset.tables import episodes_table, fixed_lists, frame_columns, sidecar_table
from learner.replay.dataset.video import VideoWriter
from learner.replay.dataset.watch import Readers


@dataclass
class _Open:
    """The shard that grows, outside of the folder; its lists have an entry for each `append`."""

    file: pa.NativeFile
    writer: pq.ParquetWriter
    lengths: list[np.ndarray] = field(default_factory=list)
    statistics: list[np.ndarray] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    frames: int = 0
    videos: dict[str, VideoWriter] = field(default_factory=dict)


class LeRobotWriter:
    """Appends episodes to an open shard; `commit` makes them part of the dataset.

    A commit swaps whole folders (`generations.py`), so that readers and a process that comes after a
    crash see all of it or nothing. Files go when nobody is just opening the dataset (`readers.py`), or when
    `hurry` is set. Not safe for several threads.

    Args:
        folder: missing, empty, or a dataset of the same `spec`, which goes on.

    Raises:
        DatasetError: the folder holds something else; the message says what.
    """

    def __init__(self, folder: Path, spec: DatasetSpec, budget: Budget | None = None) -> None:
        self._folder, self.spec, self._budget = folder, spec, budget or Budget()
        recover(folder)
        self.committed = DatasetState()
        if folder.exists() and any(folder.iterdir()):
            self.committed = lerobot_folder.read_committed(folder, spec)
            self.spec = lerobot_folder.read_spec(folder)
        self._actors = list(self.committed.actors)
        self._open: _Open | None = None
        self._readers = Readers(folder)
        self.hurry = threading.Event()

    @property
    def full(self) -> bool:
        """The open shard is as large as LeRobot lets a file be."""
        return self._open is not None and self._open.file.tell() >= FULL_BYTES

    def append(self, episodes: list[Episode]) -> None:
        """Write episodes, each as one row group, into the open shard."""
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
        table = pa.table({**plain, **image_columns(episodes, self.spec)})
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
            # Pictures are written: only the last of each episode is needed again.
            episodes = [replace(episode, images={}) for episode in episodes]
        self._open.episodes += episodes
        self._open.frames += len(table)

    def commit(self) -> None:
        """Close the shard and make its episodes part of the dataset; nothing to do is no error."""
        if self._open is None:
            return
        generation = Generation(self._folder)
        state = self._add_shard(generation, self.committed, self._open)
        count = oldest_to_drop(state.shards, self._budget)
        if count and self._readers.busy():
            count = 0  # at the next commit, or the one after it
        if count:
            state = drop_oldest(generation, state, count, self.spec)
        self._replace(generation, state, files_go=count > 0)
        self._open = None

    def compact(self) -> None:
        """Keep to the budget and leave as few files as possible, unless somebody holds them; for the end,
        since it rewrites small ones and waits for readers."""
        if self._readers.held():
            return
        state = self.committed
        count = oldest_to_drop(state.shards, self._budget)
        if count or max(groups_to_merge([shard.size for shard in state.shards]), default=1) > 1:
            generation = Generation(self._folder)
            if count:
                state = drop_oldest(generation, state, count, self.spec)
            self._replace(generation, compact(generation, state, self.spec), files_go=True)

    def _replace(self, generation: Generation, state: DatasetState, files_go: bool) -> None:
        write_description(generation, state, self.spec)
        if files_go:
            generation.replace(wait=lambda: self._readers.wait(self.hurry))
        else:
            generation.replace()
        self._readers.follow()
        self.committed = state

    def _actor(self, actor_id: str) -> int:
        """The value of the column `actor`."""
        if actor_id not in self._actors:
            self._actors.append(actor_id)
        return self._actors.index(actor_id)

    def _open_shard(self, schema: pa.Schema) -> _Open:
        path = beside(self._folder, "shard")
        path.parent.mkdir(parents=True, exist_ok=True)
        generations.reached("open", path)
        file = pa.OSFile(str(path), "wb")
        videos = {
            camera: VideoWriter(beside(self._folder, "videos") / f"{camera}.mp4", self.spec.fps, *size)
            for camera, size in self.spec.cameras.items()
            if self.spec.images == "video"
        }
        return _Open(file, shard_writer(file, schema), videos=videos)

    def _add_shard(self, generation: Generation, state: DatasetState, opened: _Open) -> DatasetState:
        generations.reached("close", beside(self._folder, "shard"))
        opened.writer.close()
        opened.file.close()
        number = state.next_number
        generation.move_in(beside(self._folder, "shard"), file_name(DATA_PATH, number))
        for camera, video in opened.videos.items():
            video.close()
            generation.move_in(video.path, video_name(camera, number))
        if opened.videos:
            generations.remove(beside(self._folder, "videos"))
        lengths, statistics = np.concatenate(opened.lengths), np.concatenate(opened.statistics)
        pictures = statistics[..., statistics.shape[2] - 3 * len(self.spec.cameras) :]
        sidecar = sidecar_table(opened.episodes, state.episodes, self.spec, pictures, number)
        generation.write_table(file_name(SIDECAR_PATH, number), sidecar)
        episodes = episodes_table(
            state.episodes, state.frames, lengths, statistics, self.spec, number, sidecar
        )
        generation.write_table(file_name(EPISODES_PATH, number), episodes)
        settled = dict(state.settled)
        for episode in opened.episodes:
            settled[episode.lane] = max(settled.get(episode.lane, 0), episode.number + 1)
        shard = lerobot_folder.measured(generation.root, number, len(lengths), opened.frames, self.spec)
        return replace(
            state,
            shards=(*state.shards, shard),
            next_number=number + 1,
            statistics=state.statistics.plus(statistics, lengths),
            actors=tuple(self._actors),
            settled=settled,
            next_position=max(state.next_position, lerobot_folder.next_position(sidecar)),
        )
