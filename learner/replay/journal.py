"""Append-only log of received messages: what makes an ack durable and a learner restartable.

Who appends copies the record; one thread writes and syncs in groups. A segment goes once every episode with
rows in it is in the dataset; some of these files are kept to be written over. Opened on a folder that holds a
journal, it first gives back what that holds (`replay`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from config.schema import JournalSettings
from learner.replay.journal_file import SHEET_BYTES, SegmentFile, Sheet, Stage
from learner.replay.journal_format import (
    Batch,
    Head,
    JournalError,
    SessionEnd,
    Totals,
    VersionMark,
    encode_record,
    segment_path,
    segment_paths,
    spare_path,
    spare_paths,
    sync_folder,
)
from learner.replay.journal_recovery import cut_torn_tail, read_segment
from learner.replay.ledger import Committed, Ledger, Segment
from protocol.arrays import Buffer, Limits
from protocol.messages import Columns, Evaluation, Experience, ExperienceSpec
from protocol.peers import Peer, SessionState

__all__ = ["Journal", "JournalError", "Replayed"]

log = logging.getLogger(__name__)

# Versions that are marked as used ahead of their publication, so that publishing never waits.
_VERSIONS_AHEAD = 2


class Replayed(NamedTuple):
    """One message of an earlier learner process."""

    actor_id: str
    session: int
    columns: Columns
    position: int
    """Of its first row in the stream of rows, as it was for that process."""


class _Group(NamedTuple):
    """What one sync makes durable."""

    next_sequences: dict[int, int]
    """Session -> first sequence number behind the group."""
    version: int
    """The highest that was marked."""
    next_segment: Segment | None
    """If it begins here."""


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
        self._step = min(SHEET_BYTES, settings.sync_bytes)
        self._limits = limits
        self._ledger = Ledger(spec)
        self._segments: list[Segment] = []  # guarded by _changed, as all below
        self._spares: list[Path] = []
        self._changed = threading.Condition()
        self._stage = Stage()
        self._touched: Segment | None = None  # holds what is appended now
        self._is_touched = False  # by more than its snapshot
        self._writing: Segment | None = None  # the last of _segments once its snapshot is on disk
        self._next_sequences: dict[int, int] = {}  # of what was appended since the last sync
        self._closing = False
        self._failure: BaseException | None = None
        self._marked_version = self._durable_version = 0
        self._file: SegmentFile | None = None
        self._thread: threading.Thread | None = None
        self._on_durable: Callable[[dict[int, int]], None] = lambda _: None
        self.next_position = 0
        """Of the next row in the stream of rows; after `replay`, and before `start` it may be raised."""
        folder.mkdir(parents=True, exist_ok=True)
        self._delete(spare_paths(folder))
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
        with self._changed:
            segment = self._touch_next()
        self._begin_file(segment)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer]) -> int:
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
        """Delete the segments, less the newest, whose episodes are all in the dataset; or make spares of
        them."""
        with self._changed:
            done = [segment for segment in self._segments[:-1] if segment.is_committed(committed)]
            self._segments = [segment for segment in self._segments if segment not in done]
            room = self._settings.spare_segments - len(self._spares)
        # Of files that an earlier process wrote nobody knows which release did.
        spares = [segment.path for segment in done if segment.is_own][:room]
        for path in spares:
            path.rename(spare_path(path))
        self._delete([segment.path for segment in done if segment.path not in spares])
        with self._changed:
            self._spares += map(spare_path, spares)

    def discard(self, committed: Committed) -> None:
        """After `close`, at the end of a run: delete every segment whose episodes are in the dataset."""
        done = [segment for segment in self._segments if segment.is_committed(committed)]
        self._segments = [segment for segment in self._segments if segment not in done]
        self._delete([segment.path for segment in done])

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
        if self._file is not None:
            self._file.close()
            self._file = None
        spares, self._spares = self._spares, []
        self._delete(spares)

    def _queue(
        self, head: Head, frames: Sequence[Buffer] = (), message: Experience | Evaluation | None = None
    ) -> None:
        self.raise_if_failed()
        with self._changed:
            assert self._touched is not None
            self._is_touched = True
            before = self._stage.used
            self._stage.add(encode_record(self._touched.number, head, frames))
            self._note(head, message)
            # Few wake-ups, and little is left to write at the sync.
            if before == 0 or before // self._step < self._stage.used // self._step:
                self._changed.notify_all()

    def _note(self, head: Head, message: Experience | Evaluation | None) -> None:
        self._ledger.add(head)
        if isinstance(head, Batch):
            self._next_sequences[head.session] = head.sequence + 1
            if message is not None:
                assert self._touched is not None
                self._index(self._touched, head, message)

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
        """Write what comes until a sync is due, sync, say so; False once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._stage.used or self._closing)
        due_s = time.monotonic() + self._settings.sync_s
        assert self._file is not None and self._writing is not None
        group, written = None, 0
        while group is None:
            sheets, group = self._take(due_s, written)
            self._file.write(sheets)
            written += sum(sheet.used for sheet in sheets)
            with self._changed:
                self._writing.size = self._file.size
                self._stage.give_back(sheets)
        if written:
            self._file.sync()
            self._tell(group)
        if group.next_segment is not None:
            self._begin_file(group.next_segment)
        return written > 0 or not self._closing

    def _take(self, due_s: float, written: int) -> tuple[list[Sheet], _Group | None]:
        """What is to be written now; with the group, if a sync is due behind it."""

        def is_over() -> bool:
            much = written + self._stage.used >= self._settings.sync_bytes
            return much or self._closing or time.monotonic() >= due_s

        with self._changed:
            left_s = max(0.0, due_s - time.monotonic())
            self._changed.wait_for(lambda: self._stage.used >= SHEET_BYTES or is_over(), left_s)
            if not is_over():
                return self._stage.take_full(), None
            sheets = self._stage.take_all(self._touched.number) if written or self._stage.used else []
            next_sequences, self._next_sequences = self._next_sequences, {}
            assert self._file is not None
            size = self._file.size + sum(sheet.used for sheet in sheets)
            version, segment = self._ledger.version, None
            if self._is_touched and size >= self._settings.segment_bytes:
                segment = self._touch_next()
            return sheets, _Group(next_sequences, version, segment)

    def _tell(self, group: _Group) -> None:
        """Only now may anybody forget these rows."""
        with self._changed:
            assert self._writing is not None
            if not self._segments or self._segments[-1] is not self._writing:
                self._segments.append(self._writing)
            if group.version > self._durable_version:
                self._durable_version = group.version
                self._changed.notify_all()
        if group.next_sequences:
            self._on_durable(group.next_sequences)

    def _touch_next(self) -> Segment:
        """With the lock: what is appended from now on belongs to the next segment, which begins with what is
        known now."""
        newest = self._touched or (self._segments[-1] if self._segments else None)
        number = newest.number + 1 if newest is not None else 1
        self._touched = Segment(segment_path(self._folder, number), is_own=True)
        self._is_touched = False
        self._stage.add(encode_record(number, self._ledger.snapshot()))
        return self._touched

    def _begin_file(self, segment: Segment) -> None:
        with self._changed:
            spare = self._spares.pop() if self._spares else None
        if spare is not None:
            spare.rename(segment.path)
        before, self._file = self._file, SegmentFile(segment.path)
        # Before anything is written: by an older name the file would have to hold the older rows.
        sync_folder(self._folder)
        if before is not None:
            before.close()
        self._writing = segment

    def _delete(self, paths: list[Path]) -> None:
        for path in paths:
            path.unlink()
        if paths:
            sync_folder(self._folder)
