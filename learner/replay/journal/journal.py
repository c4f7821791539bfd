"""Append-only log of received messages: what makes an ack durable and a learner restartable.

`append` copies the record; one thread writes and syncs in groups. A segment is deleted once every episode
with rows in it is in the dataset; some of these files are kept to write over. Opened on the folder of an
earlier process, the journal first gives back that one's messages (`replay`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from config.learner import JournalConfig
from learner.replay.journal.disk import Disk
from learner.replay.journal.file import SegmentFile
from learner.replay.journal.format import (
    BatchRecord,
    Head,
    JournalError,
    SessionEnd,
    Totals,
    VersionMark,
    segment_paths,
)
from learner.replay.journal.ledger import CommittedEpisodes, Ledger, Segment
from learner.replay.journal.queue import Group, RecordQueue
from learner.replay.journal.recovery import cut_torn_tail, read_segment
from learner.replay.journal.segments import Segments
from protocol.arrays import Buffer, Limits
from protocol.messages import Columns, Evaluation, Experience, ExperienceSpec
from protocol.session.peer import Peer, SessionState

__all__ = ["Journal", "JournalError", "Replayed"]

# Versions that are marked as used ahead of their publication, so that publishing never waits.
_VERSIONS_AHEAD = 2


class Replayed(NamedTuple):
    """One message of an earlier learner process."""

    actor_id: str
    session: int
    columns: Columns
    position: int
    """Of its first row in the stream of rows, as it was for that process."""


class Journal:
    """In the order of use: `replay` to its end, `start`, `append` and the rest, `close`.

    Args:
        folder: made if missing.
        settings: config/learner.yaml, `journal`.
        spec: of the experience; a journal of another is refused.
        limits: of one message.
        disk: None: the real one.

    Raises:
        JournalError: a journal of another spec or release, or damage before its tail.
    """

    def __init__(
        self,
        folder: Path,
        settings: JournalConfig,
        spec: ExperienceSpec,
        limits: Limits,
        disk: Disk | None = None,
    ) -> None:
        disk = disk or Disk()
        self._folder, self._settings, self._limits = folder, settings, limits
        self._ledger = Ledger(spec)
        self._segments = Segments(folder, settings.spare_segments, disk)
        self._queue = RecordQueue(settings, self._ledger, self._segments)
        self._writing: Segment | None = None
        self._file: SegmentFile | None = None
        self._thread: threading.Thread | None = None
        self._on_durable: Callable[[dict[int, int]], None] = lambda _: None
        self._marked_version = 0
        self._changed = threading.Condition()  # guards the two below
        self._durable_version = 0
        self._failure: BaseException | None = None
        self.next_position = 0
        """Of the next row in the stream of rows; after `replay`. May be raised before `start`."""
        cut_torn_tail(folder, disk)

    @property
    def sessions(self) -> list[SessionState]:
        """Those of earlier learner processes; after `replay`."""
        return list(self._ledger.sessions.values())

    @property
    def version(self) -> int:
        """No version of the weights above this one was ever published; after `replay`."""
        return self._ledger.version

    @property
    def totals(self) -> Totals:
        """Decisions and frames received since the run began; after `replay`."""
        return self._ledger.totals

    @property
    def evaluations(self) -> list[Evaluation]:
        """The newest ten of each policy, oldest first; after `replay`."""
        return self._ledger.evaluations

    @property
    def bytes_on_disk(self) -> int:
        """Of all segments."""
        return self._segments.bytes_on_disk

    def most_pending_rows(self, spec: ExperienceSpec) -> int:
        """How many rows may wait for the disk, so that they have at most `journal.pending_bytes`."""
        return max(1, self._settings.pending_bytes // spec.row_bytes)

    def replay(self) -> Iterator[Replayed]:
        """The experience in the journal, oldest first; must be read to its end.
        Raises JournalError: see the class."""
        for path in segment_paths(self._folder):
            segment = Segment(path)
            for head, message, end in read_segment(path, self._ledger.spec, self._limits):
                self._ledger.add(head)
                segment.size = end
                if not isinstance(head, BatchRecord) or message is None:
                    continue
                self._ledger.index(segment, head, message)
                if isinstance(message, Experience):
                    yield Replayed(head.actor_id, head.session, message.columns, head.position)
            self._segments.add(segment)
        self.next_position = max(self.next_position, self._ledger.totals.positions)

    def start(self, on_durable: Callable[[dict[int, int]], None]) -> None:
        """Begin a new segment; `append` may be called from now on.
        `on_durable`: called by the journal's thread after each sync with session -> first sequence number
        that is not on disk."""
        self._on_durable = on_durable
        self._marked_version = self._durable_version = self._ledger.version
        self._begin_file(self._queue.start())
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer]) -> int:
        """Queue one numbered message of `peer`; the caller bounds what waits (`most_pending_rows`).

        Args:
            frames: as they arrived; none for a message that was refused.

        Returns:
            The position of its first row: one a decision, and one behind each that ends an episode.
        """
        decisions = simulated = finals = 0
        if isinstance(message, Experience) and frames:
            columns = message.columns
            decisions, finals = len(columns["frames"]), len(columns["final_row"])
            simulated = int(columns["frames"].sum())
        head = BatchRecord(
            actor_id=peer.actor_id,
            role=peer.role,
            session=peer.session,
            sequence=message.sequence,
            frame_bytes=[len(frame) for frame in frames],
            decisions=decisions,
            frames=simulated,
            position=self.next_position,
            finals=finals,
        )
        self.next_position += decisions + finals
        self._append(head, frames, message if frames else None)
        return head.position

    def end_session(self, actor_id: str, session: int) -> None:
        """Note that the session will never send again."""
        self._append(SessionEnd(actor_id, session))

    def use_version(self, version: int) -> None:
        """Call before weights of `version` are published: after any crash, `version` of the next journal
        is at least this one. Waits only if versions come faster than syncs."""
        if version + 1 > self._marked_version:
            self._marked_version = version + _VERSIONS_AHEAD
            self._append(VersionMark(self._marked_version))
        with self._changed:
            self._changed.wait_for(lambda: self._durable_version >= version or self._failure)
        self.raise_if_failed()

    def prune(self, committed: CommittedEpisodes) -> None:
        """Delete the segments whose episodes are all in the dataset, or keep their files as spare ones; the
        newest segment stays."""
        self._segments.prune(committed)

    def discard(self, committed: CommittedEpisodes | None) -> None:
        """After `close`, at the end of a run: delete every segment whose episodes are in the dataset; None:
        all, since no more episodes are wanted."""
        self._segments.discard(committed)

    def raise_if_failed(self) -> None:
        """Raise whatever ended the journal's thread, as when the disk is full."""
        if self._failure is not None:
            raise JournalError(f"the journal in {self._folder} failed: {self._failure}") from self._failure

    def close(self) -> None:
        """Sync what is queued and end the thread; may be called twice."""
        self._queue.close()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._segments.delete_spares()

    def _append(
        self, head: Head, frames: Sequence[Buffer] = (), message: Experience | Evaluation | None = None
    ) -> None:
        self.raise_if_failed()
        self._queue.add(head, frames, message)

    def _run(self) -> None:
        try:
            while self._write_group():
                pass
        except BaseException as error:  # for the owner, who learns of it at its next call
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _write_group(self) -> bool:
        """Write records until a sync is due, sync, and report it; False once closed and empty."""
        self._queue.wait()
        due_s = time.monotonic() + self._settings.sync_s
        assert self._file is not None and self._writing is not None
        group, written = None, 0
        while group is None:
            buffers, group = self._queue.take(due_s, written, self._file.size)
            self._file.write(buffers)
            written += sum(buffer.used for buffer in buffers)
            self._writing.size = self._file.size
            self._queue.recycle(buffers)
        if written:
            self._file.sync()
            self._report(group)
        if group.next_segment is not None:
            self._begin_file(group.next_segment)
        return written > 0 or not self._queue.closing

    def _report(self, group: Group) -> None:
        """Only now may clients forget these rows."""
        assert self._writing is not None
        self._segments.add(self._writing)
        with self._changed:
            if group.version > self._durable_version:
                self._durable_version = group.version
                self._changed.notify_all()
        if group.next_sequences:
            self._on_durable(group.next_sequences)

    def _begin_file(self, segment: Segment) -> None:
        before, self._file = self._file, self._segments.open(segment)
        if before is not None:
            before.close()
        self._writing = segment
