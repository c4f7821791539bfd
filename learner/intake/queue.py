"""Admitted experience that the learner has not drained."""

from collections import deque
from typing import NamedTuple

from protocol.arrays import Columns


class Received(NamedTuple):
    """One admitted batch."""

    actor_id: str
    session: int
    columns: Columns
    """As in `Experience`; read-only arrays."""
    position: int = 0
    """Of its first row in the stream of rows of the run: one a decision and one a final observation. The
    journal knows it, too. Always 0 without a journal."""

    @property
    def rows(self) -> int:
        """Decisions in the batch."""
        return len(self.columns["frames"])


class ReceivedQueue:
    """Batches in order of arrival, each with its sequence number.
    `waits_for_disk`: only durable batches may be drained: rows that a crash could still lose would come
    again, in another order."""

    def __init__(self, *, waits_for_disk: bool) -> None:
        self._waits_for_disk = waits_for_disk
        self._waiting: deque[tuple[int, Received]] = deque()
        self._durable: dict[int, int] = {}  # session -> first sequence that is not on disk
        self._ended: list[tuple[str, int]] = []
        self.rows = 0

    def put(self, sequence: int, received: Received) -> None:
        self._waiting.append((sequence, received))
        self.rows += received.rows

    @property
    def ready(self) -> bool:
        """Whether `take` would return something."""
        if not self._waiting or not self._waits_for_disk:
            return bool(self._waiting)
        sequence, oldest = self._waiting[0]
        return self._durable.get(oldest.session, 0) > sequence

    def durable(self, next_sequences: dict[int, int]) -> None:
        """Everything below these sequence numbers, by session, is on disk."""
        waiting = self._sessions()
        self._durable |= next_sequences
        self._durable = {session: mark for session, mark in self._durable.items() if session in waiting}

    def take(self, max_rows: int | None) -> list[Received]:
        """Durable batches, oldest first, up to `max_rows` but at least one."""
        taken: list[Received] = []
        rows = 0
        while self.ready and (not taken or max_rows is None or rows + self._waiting[0][1].rows <= max_rows):
            taken.append(self._waiting.popleft()[1])
            rows += taken[-1].rows
        self.rows -= rows
        return taken

    def end_session(self, actor_id: str, session: int) -> None:
        """The session will send no more."""
        self._ended.append((actor_id, session))

    def take_ended(self) -> list[tuple[str, int]]:
        """(actor id, session) of sessions that ended and whose rows are all drained, since the last call."""
        if not self._ended:
            return []
        waiting = self._sessions()
        over = [ended for ended in self._ended if ended[1] not in waiting]
        self._ended = [ended for ended in self._ended if ended[1] in waiting]
        return over

    def _sessions(self) -> set[int]:
        return {received.session for _, received in self._waiting}
