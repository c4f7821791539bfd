"""Append-only log of received messages: what makes an ack durable and a learner restartable.

One thread appends and syncs in groups. A segment is deleted once every episode with rows in it is in
the dataset. Opened on a folder that holds a journal, it first gives back what that holds (`replay`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from config.schema import JournalSettings
from learner.replay.journal_format import (
    Batch,
    Head,
    JournalError,
    SessionEnd,
    Totals,
    VersionMark,
    encode_record,
    segment_number,
    segment_path,
    segment_paths,
    sync_folder,
    write_all,
)
from learner.replay.journal_recovery import cut_torn_tail, read_segment
from learner.replay.ledger import Committed, Ledger, Segment
from protocol.arrays import Limits
from protocol.messages import Columns, Evaluation, Experience, ExperienceSpec
from protocol.peers import Peer, SessionState

__all__ = ["Journal", "JournalError", "Replayed"]

log = logging.getLogger(__name__)

# Bytes that wake the writer before a sync is due: few wake-ups, and little is left to write at the sync.
_WRITE_BYTES = 1 << 22
# Versions that are marked as used ahead of their publication, so that publishing never waits.
_VERSIONS_AHEAD = 2


class Replayed(NamedTuple):
    """One message of an earlier learner process."""

    actor_id: str
    session: int
    columns: Columns
    position: int
    """Of its first row in the stream of rows, as it was for that process."""


class _Pending(NamedTuple):
    head: Head
    message: Experience | Evaluation | None
    parts: list[bytes]


class Journal:
    """In the order of use: `replay` to its end, `start`, `append` and the rest, `close`.

    Args:
        folder: made if missing.
        settings: config/learner.yaml, `journal`.
        spec: of the experience; a journal of another is refused.
        limits: of one message.

    Raises:
        JournalError: a journal of another spec or release, or damage before its tail.
    """

    def __init__(self, folder: Path, settings: JournalSettings, spec: ExperienceSpec, limits: Limits) -> None:
        self._folder = folder
        self._settings = settings
        self._limits = limits
        self._ledger = Ledger(spec)
        self._segments: list[Segment] = []  # guarded by _changed, as all below
        self._changed = threading.Condition()
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._closing = False
        self._failure: BaseException | None = None
        self._marked_version = self._durable_version = 0
        self._descriptor: int | None = None
        self._thread: threading.Thread | None = None
        self._on_durable: Callable[[dict[int, int]], None] = lambda _: None
        self.next_position = 0
        """Of the next row in the stream of rows; after `replay`, and before `start` it may be raised."""
        folder.mkdir(parents=True, exist_ok=True)
        cut_torn_tail(folder)

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
        """The newest of each policy; after `replay`."""
        return list(self._ledger.evaluations.values())

    @property
    def bytes_on_disk(self) -> int:
        """Of all segments."""
        with self._changed:
            return sum(segment.size for segment in self._segments)

    def room_rows(self, spec: ExperienceSpec) -> int:
        """Rows that may wait for the disk, so that they measure at most `journal.pending_bytes`."""
        return max(1, self._settings.pending_bytes // spec.row_bytes)

    def replay(self) -> Iterator[Replayed]:
        """The experience that the journal holds, oldest first; to be read to its end.

        Raises:
            JournalError: see the class.
        """
        for path in segment_paths(self._folder):
            segment = Segment(path)
            for head, message, end in read_segment(path, self._ledger.spec, self._limits):
                self._ledger.add(head)
                segment.size = end
                if not isinstance(head, Batch) or message is None:
                    continue
                self._index(segment, head, message)
                if isinstance(message, Experience):
                    yield Replayed(head.actor_id, head.session, message.columns, head.position)
            self._segments.append(segment)
        self.next_position = max(self.next_position, self._ledger.totals.positions)

    def start(self, on_durable: Callable[[dict[int, int]], None]) -> None:
        """Begin a new segment and take rows.

        Args:
            on_durable: called by the journal's thread after each sync with session -> first sequence
                number that is not on disk.
        """
        self._on_durable = on_durable
        self._marked_version = self._durable_version = self._ledger.version
        self._begin_segment()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[bytes]) -> int:
        """Queue one numbered message of `peer`; who calls bounds what waits (`room_rows`).

        Args:
            frames: as they came; none for a message that was refused.

        Returns:
            The position of its first row: one a decision, and one behind each that ends an episode.
        """
        decisions = simulated = finals = 0
        if isinstance(message, Experience) and frames:
            columns = message.columns
            decisions, finals = len(columns["frames"]), len(columns["final_row"])
            simulated = int(columns["frames"].sum())
        head = Batch(
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
        self._queue(head, frames, message if frames else None)
        return head.position

    def end_session(self, actor_id: str, session: int) -> None:
        """Note that the session will never send again."""
        self._queue(SessionEnd(actor_id, session))

    def use_version(self, version: int) -> None:
        """Call before weights of `version` are published: after any crash, `version` of the next journal
        is at least this one. Waits only if versions come faster than syncs."""
        if version + 1 > self._marked_version:
            self._marked_version = version + _VERSIONS_AHEAD
            self._queue(VersionMark(self._marked_version))
        with self._changed:
            self._changed.wait_for(lambda: self._durable_version >= version or self._failure)
        self.raise_if_failed()

    def prune(self, committed: Committed) -> None:
        """Delete the segments, less the newest, whose episodes are all in the dataset."""
        with self._changed:
            done = [segment for segment in self._segments[:-1] if segment.is_committed(committed)]
            self._segments = [segment for segment in self._segments if segment not in done]
        self._delete(done)

    def discard(self, committed: Committed) -> None:
        """After `close`, at the end of a run: delete every segment whose episodes are in the dataset."""
        done = [segment for segment in self._segments if segment.is_committed(committed)]
        self._segments = [segment for segment in self._segments if segment not in done]
        self._delete(done)

    def raise_if_failed(self) -> None:
        """Raise whatever ended the journal's thread, as when the disk is full."""
        if self._failure is not None:
            raise JournalError(f"the journal in {self._folder} failed: {self._failure}") from self._failure

    def close(self) -> None:
        """Sync what is queued and end the thread; may be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _queue(
        self, head: Head, frames: Sequence[bytes] = (), message: Experience | Evaluation | None = None
    ) -> None:
        self.raise_if_failed()
        # The checksum is made here: in the writer it would wait for the interpreter at every frame.
        item = _Pending(head, message, encode_record(head, frames))
        with self._changed:
            self._pending.append(item)
            before = self._pending_bytes
            self._pending_bytes += sum(map(len, item.parts))
            if before == 0 or before < _WRITE_BYTES <= self._pending_bytes:
                self._changed.notify_all()

    def _index(self, segment: Segment, head: Batch, message: Experience | Evaluation) -> None:
        if isinstance(message, Experience):
            segment.touch(head.actor_id, head.session, message.columns)
        else:
            self._ledger.add_evaluation(message)

    def _run(self) -> None:
        try:
            while self._write_group():
                pass
        except BaseException as error:  # for the owner, who learns of it at its next call
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _write_group(self) -> bool:
        """Append what comes until a sync is due, sync, say so; False once closed and empty."""
        due_s, group = None, []
        unsynced_bytes = 0
        while True:
            pending = self._take(due_s)
            if due_s is None and pending:
                due_s = time.monotonic() + self._settings.sync_s
            unsynced_bytes += self._write(pending)
            group += [item.head for item in pending]
            over = due_s is not None and time.monotonic() >= due_s
            if over or self._closing or unsynced_bytes >= self._settings.sync_bytes:
                break
        if group:
            assert self._descriptor is not None
            os.fdatasync(self._descriptor)
            self._tell(group)
        if self._segments[-1].size >= self._settings.segment_bytes:
            self._begin_segment()
        return bool(group) or not self._closing

    def _take(self, due_s: float | None) -> list[_Pending]:
        """What was queued; waits for the first, or until there is much or `due_s`."""
        timeout_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        least = 1 if due_s is None else _WRITE_BYTES
        with self._changed:
            self._changed.wait_for(lambda: self._pending_bytes >= least or self._closing, timeout_s)
            taken, self._pending, self._pending_bytes = self._pending, [], 0
            return taken

    def _write(self, pending: list[_Pending]) -> int:
        if not pending:
            return 0
        assert self._descriptor is not None
        written = 0
        segment = self._segments[-1]
        for item in pending:
            # One call a record: the kernel copies one large call of many parts five times slower.
            written += write_all(self._descriptor, item.parts)
            self._ledger.add(item.head)
            if isinstance(item.head, Batch) and item.message is not None:
                self._index(segment, item.head, item.message)
        segment.size += written
        return written

    def _tell(self, group: list[Head]) -> None:
        """Only now may anybody forget these rows."""
        next_sequences = {head.session: head.sequence + 1 for head in group if isinstance(head, Batch)}
        versions = [head.version for head in group if isinstance(head, VersionMark)]
        if versions:
            with self._changed:
                self._durable_version = max(versions)
                self._changed.notify_all()
        if next_sequences:
            self._on_durable(next_sequences)

    def _begin_segment(self) -> None:
        number = segment_number(self._segments[-1].path) + 1 if self._segments else 1
        segment = Segment(segment_path(self._folder, number))
        before = self._descriptor
        self._descriptor = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        segment.size = write_all(self._descriptor, encode_record(self._ledger.snapshot()))
        os.fsync(self._descriptor)
        sync_folder(self._folder)
        if before is not None:
            os.close(before)
        with self._changed:
            self._segments.append(segment)

    def _delete(self, segments: list[Segment]) -> None:
        for segment in segments:
            segment.path.unlink()
        if segments:
            sync_folder(self._folder)
