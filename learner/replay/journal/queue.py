"""Records between those who append them and the one thread that writes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from config.learner import JournalConfig
from learner.replay.journal.file import SHEET_BYTES, Sheet, Stage
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


class Queue:
    """Whole records, in order, each counted in the ledger as it comes.

    Args:
        ledger: from now on changed here alone.
    """

    def __init__(self, settings: JournalConfig, ledger: Ledger, segments: Segments) -> None:
        self._settings = settings
        self._step = min(SHEET_BYTES, settings.sync_bytes)
        self._ledger, self._segments = ledger, segments
        self._changed = threading.Condition()  # guards all below, and the ledger
        self._stage = Stage()
        self._touched: Segment | None = None  # holds what is appended now
        self._is_touched = False  # by more than its snapshot
        self._next_sequences: dict[int, int] = {}  # of what was appended since the last sync
        self._closing = False

    def start(self) -> Segment:
        """The segment that the first record will be in."""
        with self._changed:
            return self._touch_next()

    def add(
        self, head: Head, frames: Sequence[Buffer] = (), message: Experience | Evaluation | None = None
    ) -> None:
        """Copy one record; who calls bounds what waits.

        Args:
            frames: payload of a `Batch`.
            message: what they say; None if it was refused.
        """
        with self._changed:
            assert self._touched is not None
            self._is_touched = True
            before = self._stage.used
            self._stage.add(encode_record(self._touched.number, head, frames))
            self._ledger.add(head)
            if isinstance(head, BatchRecord):
                self._next_sequences[head.session] = head.sequence + 1
                if message is not None:
                    self._ledger.index(self._touched, head, message)
            # Few wake-ups, and little is left to write at the sync.
            if before == 0 or before // self._step < self._stage.used // self._step:
                self._changed.notify_all()

    def close(self) -> None:
        """What is there is taken at once from now on."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def wait(self) -> None:
        """Until there is something to write, or nothing will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._stage.used or self._closing)

    def take(self, due_s: float, written: int, size: int) -> tuple[list[Sheet], Group | None]:
        """What is to be written now; with the group, if a sync is due behind it.

        Args:
            due_s: when it is, on the monotonic clock.
            written: bytes since the last sync.
            size: of the segment's file.
        """

        def is_over() -> bool:
            much = written + self._stage.used >= self._settings.sync_bytes
            return much or self._closing or time.monotonic() >= due_s

        with self._changed:
            left_s = max(0.0, due_s - time.monotonic())
            self._changed.wait_for(lambda: self._stage.used >= SHEET_BYTES or is_over(), left_s)
            if not is_over():
                return self._stage.take_full(), None
            assert self._touched is not None
            sheets = self._stage.take_all(self._touched.number) if written or self._stage.used else []
            next_sequences, self._next_sequences = self._next_sequences, {}
            size += sum(sheet.used for sheet in sheets)
            version, segment = self._ledger.version, None
            if self._is_touched and size >= self._settings.segment_bytes:
                segment = self._touch_next()
            return sheets, Group(next_sequences, version, segment)

    def give_back(self, sheets: list[Sheet]) -> None:
        """These were written."""
        with self._changed:
            self._stage.give_back(sheets)

    def _touch_next(self) -> Segment:
        """With the lock: what is appended from now on belongs to the next segment, which begins with what is
        known now."""
        self._touched = self._segments.next_after(self._touched)
        self._is_touched = False
        self._stage.add(encode_record(self._touched.number, self._ledger.snapshot()))
        return self._touched
