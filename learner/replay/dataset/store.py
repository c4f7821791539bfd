"""A run's replay as a LeRobot v3.0 dataset, written by one thread in the background."""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.check import check_columns
from learner.replay.dataset.compaction import Budget, commit_delay_factor
from learner.replay.dataset.episode import Episode, Lane
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.keep import Keep
from learner.replay.dataset.writer import LeRobotWriter
from protocol.arrays import Columns

log = logging.getLogger(__name__)

# Messages handled at once: enough to share the cost of a call, few enough to stay responsive.
_MESSAGES_AT_ONCE = 64


class _Message(NamedTuple):
    actor_id: str
    session: int
    columns: Columns | None
    """None: the session is over."""
    position: int


class LeRobotStore:
    """Writes whole episodes to disk, one dataset frame an environment step. A context manager.

    At every moment the folder is missing or a valid dataset of the committed episodes. An episode is
    identified by actor, session, sub-environment and number: one that was committed before, by whichever
    process, is skipped in silence when it comes again. Beside LeRobot's files there are
    meta/residual_rl.json (`DatasetSpec`, and the actor's id for each value of the column `actor`) and
    sidecar/ (each episode's identity, how it ended, its final observation). Episodes that have not
    ended when the store closes are not written.

    Args:
        folder: missing, empty, or a dataset of the same kind, which is continued.
        repo_id: name or owner/name, as on the Hub; an older dataset keeps its own.
        fps: frames a second of simulated time.
        queue_episodes: `add` blocks while this many ended episodes wait to be written.
        flush_s: seconds between commits; more in a run of many hours, see `commit_delay_factor`.
        state_dim: dimensions of an observation that are the robot's own, see `DatasetSpec`.
        budget: how much of the newest experience is kept; None keeps everything.
        cameras: height and width of each camera's images, which come with the columns.
        images: "video" or "image": how they are stored.
        optional_columns: those of the run's spec, see `protocol.experience`.
        features_dim: of the base's features that are kept; 0: none are.
        keep: which episodes the dataset gets; None: all.

    Raises:
        DatasetError: `folder` contains something else.
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
        optional_columns: Sequence[str] = (),
        features_dim: int = 0,
        keep: Keep | None = None,
    ) -> None:
        spec = DatasetSpec(
            repo_id, observation_dim, action_dim, fps, robot_type, task, state_dim,
            cameras={camera: list(size) for camera, size in (cameras or {}).items()},
            images=images if cameras else None, optional_columns=list(optional_columns),
            features_dim=features_dim,
        )  # fmt: skip
        if queue_episodes < 1:
            raise ValueError(f"queue_episodes must be at least 1, got {queue_episodes}")
        if not flush_s > 0:
            raise ValueError(f"flush_s must be above 0, got {flush_s}")
        self._folder, self._spec = folder, spec
        self._queue_episodes = queue_episodes
        self._flush_s = flush_s
        self._writer = LeRobotWriter(folder, spec, budget, keep)
        self._residual_every = self._writer.spec.residual_every
        self._assembler = EpisodeAssembler(self._writer.committed.episodes_done)
        self._next_position = self._writer.committed.next_position
        # Guards all below but the thread.
        self._changed = threading.Condition()
        self._inbox: deque[_Message] = deque()
        self.pending = 0
        """Ended episodes that wait to be written."""
        self._closing = False
        self._compact_at_end = True
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
    def dropped(self) -> int:
        """Episodes that were dropped because decisions were missing."""
        return self._assembler.dropped

    def committed(self) -> dict[Lane, int]:
        """For each actor id, session and sub-environment, how many episodes from 0 are durable: their rows
        need not be kept elsewhere, nor come again. May be called by any thread."""
        # A commit replaces the whole manifest: whichever one is read here is consistent.
        return dict(self._writer.committed.episodes_done)

    def add(self, actor_id: str, session: int, columns: Columns, position: int | None = None) -> None:
        """Queue the columns of one message (see `protocol.experience`).

        The arrays must not change afterwards. Blocks while the writer is behind.

        Args:
            position: of the first row, as `Ring.add` returned it, so that the ring can be rebuilt from the
                dataset; None counts on from the rows before.

        Raises:
            ValueError: columns that are not those of this dataset.
            RuntimeError: the writer failed, or the store is closed.
        """
        if self._residual_every is None and "reward" in columns:
            self._residual_every = columns["reward"].shape[1]
        check_columns(columns, self._spec, self._residual_every or 0)
        if position is None:
            position = self._next_position
        self._next_position = position + len(columns["frames"]) + len(columns["final_row"])
        with self._changed:
            self._changed.wait_for(lambda: self.pending < self._queue_episodes or self._error is not None)
            self._put(_Message(actor_id, session, columns, position))
            self.pending += len(columns["final_row"])

    def end_session(self, actor_id: str, session: int) -> None:
        """The session will never send again: its unfinished episodes are truncated at their last row and
        written, with an unknown final observation.
        Raises RuntimeError: the writer failed, or the store is closed."""
        with self._changed:
            self._put(_Message(actor_id, session, None, 0))

    def raise_if_failed(self) -> None:
        """Raise RuntimeError from the writer's error, if it failed."""
        if self._error is not None:
            raise RuntimeError(f"writing the replay in {self._folder} failed: {self._error}") from self._error

    def close(self, *, compact: bool = True) -> None:
        """Write all whole episodes and end the thread; may be called twice.
        `compact`: merge small files, which rewrites them and waits for readers that are opening the dataset;
        not if somebody waits for the end, or if the dataset will be continued.
        Raises RuntimeError: the writer failed."""
        with self._changed:
            first, self._closing = not self._closing, True
            if first:
                self._compact_at_end = compact
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

    def __enter__(self) -> "LeRobotStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, message: _Message) -> None:
        """Call with the lock."""
        self.raise_if_failed()
        if self._closing:
            raise RuntimeError(f"the replay in {self._folder} is closed")
        self._inbox.append(message)
        self._changed.notify_all()

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
                due_s = time.monotonic() + self._flush_s * commit_delay_factor(sizes)
        self._writer.commit()
        if self._compact_at_end:
            self._writer.compact()

    def _wait(self, until_s: float) -> bool:
        """Wait for a message, the end or the time; False once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._closing, max(0.0, until_s - time.monotonic()))
            return bool(self._inbox) or not self._closing

    def _write_next(self) -> None:
        """Write the episodes that the oldest messages ended, if there are any."""
        with self._changed:
            taken = [self._inbox.popleft() for _ in range(min(len(self._inbox), _MESSAGES_AT_ONCE))]
        episodes = [episode for session in _by_session(taken) for episode in self._ended_by(session)]
        if episodes:
            self._writer.append(episodes)
        with self._changed:
            self.pending -= sum(len(m.columns["final_row"]) for m in taken if m.columns is not None)
            self._changed.notify_all()

    def _ended_by(self, messages: list[_Message]) -> list[Episode]:
        actor_id, session, columns, _ = messages[0]
        if columns is None:
            return self._assembler.end_session(actor_id, session)
        parts = [(each.columns, each.position) for each in messages if each.columns is not None]
        if self._spec.cameras:
            # Images of many messages are too much to copy.
            return [episode for part in parts for episode in self._assembler.add(actor_id, session, [part])]
        return self._assembler.add(actor_id, session, parts)


def _by_session(messages: list[_Message]) -> list[list[_Message]]:
    """Neighbours of one session together; the end of a session is a group of its own."""
    groups = itertools.groupby(messages, key=lambda each: (each.actor_id, each.session, each.columns is None))
    return [list(group) for _, group in groups]
