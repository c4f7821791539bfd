"""A run's replay as a LeRobot v3.0 dataset, written by one thread in the background."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from learner.replay.dataset.compaction import Budget, patience
from learner.replay.dataset.episodes import EXPERIENCE_COLUMNS, Episode, EpisodeAssembler, Lane
from learner.replay.dataset.format import DatasetSpec
from learner.replay.dataset.writer import LeRobotWriter
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX
from protocol.messages import Columns

log = logging.getLogger(__name__)

# Messages put together at once: enough to share the cost of a call, few enough to stay responsive.
_MESSAGES_AT_ONCE = 64


class _Message(NamedTuple):
    actor_id: str
    session: int
    columns: Columns | None
    """None: the session is over."""
    position: int


class LeRobotStore:
    """Keeps whole episodes on disk, one dataset frame an environment step.

    At every moment the folder is missing or a valid dataset of the committed episodes. An episode is
    known by actor, session, sub-environment and number: what was committed before, by whichever
    process, is passed over in silence when it comes again. What lies beside LeRobot's files:
    meta/residual_rl.json (repo id, and the actor's id for each value of the column `actor`) and
    sidecar/ (each episode's identity, how it ended, its final observation). Episodes that have not
    ended when the store closes are left out. A context manager.

    Args:
        folder: missing, empty, or a dataset of the same kind, which goes on.
        repo_id: name or owner/name, as the Hub would call it; that of an older dataset stays.
        fps: frames a second of simulated time.
        queue_episodes: `add` waits while so many ended episodes are not yet written.
        flush_s: seconds between commits; more in a run of many hours, see `shards.patience`.
        state_dim: how many first numbers of an observation are the robot's own, see `DatasetSpec`.
        budget: how much of the newest experience stays; None keeps everything.
        cameras: height and width of each camera's images, which come with the columns.
        images: "video" or "image", how they are kept.

    Raises:
        DatasetError: `folder` holds something else.
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        folder: Path,
        *,
        repo_id: str,
        observation_dim: int,
        action_dim: int,
        fps: int,
        robot_type: str,
        task: str,
        queue_episodes: int,
        flush_s: float,
        state_dim: int | None = None,
        budget: Budget | None = None,
        cameras: Mapping[str, tuple[int, int]] | None = None,
        images: str | None = None,
    ) -> None:
        spec = DatasetSpec(
            repo_id, observation_dim, action_dim, fps, robot_type, task, state_dim,
            cameras={camera: list(size) for camera, size in (cameras or {}).items()},
            images=images if cameras else None,
        )  # fmt: skip
        if queue_episodes < 1:
            raise ValueError(f"queue_episodes must be at least 1, got {queue_episodes}")
        if not flush_s > 0:
            raise ValueError(f"flush_s must be above 0, got {flush_s}")
        self._folder, self._spec = folder, spec
        self._queue_episodes = queue_episodes
        self._flush_s = flush_s
        self._writer = LeRobotWriter(folder, spec, budget)
        self._horizon = self._writer.spec.residual_every
        self._assembler = EpisodeAssembler(dict(self._writer.committed.settled))
        self._next_position = self._writer.committed.next_position
        # Guards the four below.
        self._changed = threading.Condition()
        self._inbox: deque[_Message] = deque()
        self._pending = 0
        self._closing = False
        self._compacts = True
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="lerobot-store", daemon=True)
        self._thread.start()

    @property
    def episodes(self) -> int:
        """Committed episodes."""
        return self._writer.committed.episodes

    @property
    def frames(self) -> int:
        """Committed frames."""
        return self._writer.committed.frames

    @property
    def pending(self) -> int:
        """Ended episodes that wait for the writer."""
        return self._pending

    @property
    def dropped(self) -> int:
        """Episodes that were left out because decisions were missing."""
        return self._assembler.dropped

    def committed(self) -> dict[Lane, int]:
        """For each actor id, session and sub-environment, how many episodes from 0 are on the disk for
        good: their rows need not be kept elsewhere, nor come again. May be called by any thread."""
        # A commit replaces the whole record: whichever one is read here is consistent.
        return dict(self._writer.committed.settled)

    def add(self, actor_id: str, session: int, columns: Columns, position: int | None = None) -> None:
        """Hand over the columns of one message (see `protocol.messages.Experience`).

        The arrays must not change afterwards. Waits while the writer is behind.

        Args:
            position: what `Ring.add` returned, so that the ring can be rebuilt from the dataset;
                None counts on from the rows before.

        Raises:
            ValueError: columns that are not those of this dataset.
            RuntimeError: the writer failed, or the store is closed.
        """
        self._check(columns)
        if position is None:
            position = self._next_position
        self._next_position = position + len(columns["frames"]) + len(columns["final_row"])
        with self._changed:
            self._changed.wait_for(lambda: self._pending < self._queue_episodes or self._error is not None)
            self._put(_Message(actor_id, session, columns, position))
            self._pending += len(columns["final_row"])

    def end_session(self, actor_id: str, session: int) -> None:
        """This session will never send again: its half-finished episodes are kept, truncated at their
        last row, their final observation recorded as unknown.

        Raises:
            RuntimeError: the writer failed, or the store is closed.
        """
        with self._changed:
            self._put(_Message(actor_id, session, None, 0))

    def raise_if_failed(self) -> None:
        """Raise RuntimeError from the writer's error, if it failed."""
        if self._error is not None:
            raise RuntimeError(f"writing the replay in {self._folder} failed: {self._error}") from self._error

    def close(self, *, compact: bool = True) -> None:
        """Write everything that is whole and end the thread; may be called twice.

        Args:
            compact: leave as few files as possible, which rewrites the small ones and waits for readers that
                are just opening the dataset; not for somebody who waits for the end, nor where the dataset
                will go on.

        Raises:
            RuntimeError: the writer failed.
        """
        with self._changed:
            first, self._closing = not self._closing, True
            if first:
                self._compacts = compact
                if not compact:
                    self._writer.hurry.set()
            self._changed.notify_all()
        self._thread.join()
        self.raise_if_failed()
        if first:
            log.info(
                "replay: %d episodes, %d frames in %s; left out: %d unfinished, %d with missing decisions",
                self.episodes, self.frames, self._folder, self._assembler.unfinished, self.dropped,
            )  # fmt: skip

    def __enter__(self) -> LeRobotStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, message: _Message) -> None:
        """Call with the lock."""
        self.raise_if_failed()
        if self._closing:
            raise RuntimeError(f"the replay in {self._folder} is closed")
        self._inbox.append(message)
        self._changed.notify_all()

    def _check(self, columns: Columns) -> None:
        missing = EXPERIENCE_COLUMNS - columns.keys()
        if missing:
            raise ValueError(f"columns lack {', '.join(sorted(missing))}")
        rows, k = columns["reward"].shape
        if self._horizon is None:
            self._horizon = k
        o, a, ends = self._spec.observation_dim, self._spec.action_dim, len(columns["final_row"])
        expected = {
            "observation": (rows, self._horizon, o),
            **dict.fromkeys(("action", "base_plan", "residual"), (rows, self._horizon, a)),
            "final_observation": (ends, o),
            "final_base_plan": (ends, self._horizon, a),
        }
        for camera, size in self._spec.cameras.items():
            expected[IMAGE_PREFIX + camera] = (rows, self._horizon, *size, 3)
            expected[FINAL_IMAGE_PREFIX + camera] = (ends, *size, 3)
        missing = expected.keys() - columns.keys()
        if missing:
            raise ValueError(f"columns lack {', '.join(sorted(missing))}")
        for name, shape in expected.items():
            if columns[name].shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {columns[name].shape}")
        if not np.array_equal(
            np.flatnonzero(columns["terminated"] | columns["truncated"]), columns["final_row"]
        ):
            raise ValueError("final_row must name the rows that are terminated or truncated, in order")

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except Exception as error:  # the learner's thread raises it: add, raise_if_failed, close
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _write_until_closed(self) -> None:
        due_s = time.monotonic() + self._flush_s
        while self._wait(due_s):
            self._write_next()
            if self._writer.full or time.monotonic() >= due_s:
                self._writer.commit()
                sizes = [shard.size for shard in self._writer.committed.shards]
                due_s = time.monotonic() + self._flush_s * patience(sizes)
        self._writer.commit()
        if self._compacts:
            self._writer.compact()

    def _wait(self, until_s: float) -> bool:
        """Wait for a message, the end or the time; False once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._closing, max(0.0, until_s - time.monotonic()))
            return bool(self._inbox) or not self._closing

    def _write_next(self) -> None:
        """Write what the oldest messages ended, if there are any."""
        with self._changed:
            taken = [self._inbox.popleft() for _ in range(min(len(self._inbox), _MESSAGES_AT_ONCE))]
        episodes = [episode for session in _by_session(taken) for episode in self._ended_by(session)]
        if episodes:
            self._writer.append(episodes)
        with self._changed:
            self._pending -= sum(len(m.columns["final_row"]) for m in taken if m.columns is not None)
            self._changed.notify_all()

    def _ended_by(self, messages: list[_Message]) -> list[Episode]:
        actor_id, session, columns, _ = messages[0]
        if columns is None:
            return self._assembler.end_session(actor_id, session)
        parts = [(each.columns, each.position) for each in messages if each.columns is not None]
        if self._spec.cameras:
            # Images of many messages are not for copying.
            return [episode for part in parts for episode in self._assembler.add(actor_id, session, [part])]
        return self._assembler.add(actor_id, session, parts)


def _by_session(messages: list[_Message]) -> list[list[_Message]]:
    """Neighbours of one session together; its end is by itself."""
    groups = itertools.groupby(messages, key=lambda each: (each.actor_id, each.session, each.columns is None))
    return [list(group) for _, group in groups]
