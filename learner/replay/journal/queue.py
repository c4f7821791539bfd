"""Records between those who append them and the one thread that writes them."""

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from config.learner import JournalConfig
from learner.replay.journal.file import BUFFER_BYTES, PendingRecords, WriteBuffer
from learner.replay.journal.format import BatchRecord, Head, encode_record
from learner.replay.journal.ledger import Ledger, Segment
from learner.replay.journal.segments import Segments
from protocol.arrays import Buffer
from protocol.messages import Evaluation, Experience


class Group(NamedTuple):
    """What one sync makes durable."""

    next_sequences: dict[int, int]
    """Session -> first sequence number behind the group."""
    version: int
    """The highest that was marked."""
    next_segment: Segment | None
    """If it begins here."""


class RecordQueue:
    """Whole records, in order, each counted in the ledger as it is added.
    `ledger`: changed only here from now on."""

    def __init__(self, settings: JournalConfig, ledger: Ledger, segments: Segments) -> None:
        self._settings = settings
        self._step = min(BUFFER_BYTES, settings.sync_bytes)
        self._ledger, self._segments = ledger, segments
        self._changed = threading.Condition()  # guards all below, and the ledger
        self._pending = PendingRecords()
        self._current: Segment | None = None  # what is added now belongs to it
        self._has_rows = False  # the current segment, besides its snapshot
        self._next_sequences: dict[int, int] = {}  # of what was added since the last sync
        self.closing = False

    def start(self) -> Segment:
        """The segment that the first record will be in."""
        with self._changed:
            return self._begin_next()

    def add(
        self, head: Head, frames: Sequence[Buffer] = (), message: Experience | Evaluation | None = None
    ) -> None:
        """Copy one record; the caller bounds what waits.

        Args:
            frames: payload of a `BatchRecord`.
            message: what they encode; None if it was refused.
        """
        with self._changed:
            assert self._current is not None
            self._has_rows = True
            before = self._pending.used
            self._pending.add(encode_record(self._current.number, head, frames))
            self._ledger.add(head)
            if isinstance(head, BatchRecord):
                self._next_sequences[head.session] = head.sequence + 1
                if message is not None:
                    self._ledger.index(self._current, head, message)
            # Few wake-ups, and little is left to write at the sync.
            if before == 0 or before // self._step < self._pending.used // self._step:
                self._changed.notify_all()

    def close(self) -> None:
        """From now on, `take` does not wait for more records."""
        with self._changed:
            self.closing = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when there is something to write, or nothing will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending.used or self.closing)

    def take(self, due_s: float, written: int, size: int) -> tuple[list[WriteBuffer], Group | None]:
        """What to write now; and the group, if a sync is due after it.

        Args:
            due_s: when a sync is due, on the monotonic clock.
            written: bytes since the last sync.
            size: of the segment's file.
        """

        def is_over() -> bool:
            much = written + self._pending.used >= self._settings.sync_bytes
            return much or self.closing or time.monotonic() >= due_s

        with self._changed:
            left_s = max(0.0, due_s - time.monotonic())
            self._changed.wait_for(lambda: self._pending.used >= BUFFER_BYTES or is_over(), left_s)
            if not is_over():
                return self._pending.take_full(), None
            assert self._current is not None
            buffers = self._pending.take_all(self._current.number) if written or self._pending.used else []
            next_sequences, self._next_sequences = self._next_sequences, {}
            size += sum(buffer.used for buffer in buffers)
            version, segment = self._ledger.version, None
            if self._has_rows and size >= self._settings.segment_bytes:
                segment = self._begin_next()
            return buffers, Group(next_sequences, version, segment)

    def recycle(self, buffers: list[WriteBuffer]) -> None:
        """Use these buffers again: they were written."""
        with self._changed:
            self._pending.recycle(buffers)

    def _begin_next(self) -> Segment:
        """Call with the lock: what is added from now on belongs to the next segment, which begins with a
        snapshot."""
        self._current = self._segments.next_after(self._current)
        self._has_rows = False
        self._pending.add(encode_record(self._current.number, self._ledger.snapshot()))
        return self._current
