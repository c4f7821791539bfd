"""What a learner knows of one actor or evaluator."""

import enum
from collections import deque
from dataclasses import dataclass, field

import msgspec

from protocol.messages import Ack, Welcome


class SessionState(msgspec.Struct, frozen=True, array_like=True):
    """What a learner must remember of a session when it is restarted."""

    actor_id: str
    role: str
    session: int
    next_sequence: int
    """Everything below is on disk."""
    ended: bool
    """The actor came back with a newer session: this one will never send again."""


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that may be in flight."""

    credit_rows: int
    """One client is granted at most."""
    queue_rows: int
    """All live clients together are granted, in equal shares."""
    undurable_rows: int
    """Rows received and not on disk that all live clients together are granted, in equal shares."""


class Verdict(enum.Enum):
    """What a numbered message is to the learner."""

    NEW = "new"
    DUPLICATE = "duplicate"
    GAP = "gap"
    OVER_CREDIT = "over credit"


@dataclass
class Peer:
    """One actor or evaluator: its newest session and what is known of it."""

    actor_id: str
    role: str
    session: int
    address: str
    identity: bytes
    """Where answers go: ZeroMQ's name of its newest connection."""
    next_sequence: int
    last_seen_s: float
    durable_sequence: int = 0
    undurable: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    """(sequence, rows) of what was received and is not on disk."""
    undurable_rows: int = 0
    queued_rows: int = 0
    """Accepted and not drained."""
    rows: int = 0
    figures: dict[str, float] = field(default_factory=dict[str, float])
    owes_ack: bool = False
    welcomed: tuple[bytes, float] = (b"", 0.0)
    """(identity, when) of the last answer to a Hello."""
    gap_told: tuple[int, float] = (-1, 0.0)
    """(sequence that was asked for, when)."""

    def admit(self, sequence: int, rows: int, credit: Credit) -> Verdict:
        """Judge a numbered message; if it is new, count it as received and queued."""
        self.owes_ack = True
        if sequence < self.next_sequence:
            return Verdict.DUPLICATE
        if sequence > self.next_sequence:
            return Verdict.GAP
        is_over = self.queued_rows >= credit.credit_rows or self.undurable_rows >= credit.undurable_rows
        if rows and is_over:
            return Verdict.OVER_CREDIT
        self.undurable.append((sequence, rows))
        self.undurable_rows += rows
        self.next_sequence += 1
        self.queued_rows += rows
        self.rows += rows
        return Verdict.NEW

    def drained(self, rows: int) -> None:
        """Give back the credit of rows that left the queue."""
        self.queued_rows -= rows
        self.owes_ack = True

    def became_durable(self, next_sequence: int) -> None:
        """Everything below `next_sequence` is on disk."""
        self.durable_sequence = max(self.durable_sequence, next_sequence)
        while self.undurable and self.undurable[0][0] < next_sequence:
            self.undurable_rows -= self.undurable.popleft()[1]
        self.owes_ack = True

    def start_at(self, first_sequence: int) -> None:
        """What the client does not keep any more was durable at a learner before this one."""
        self.next_sequence = max(self.next_sequence, first_sequence)
        self.durable_sequence = max(self.durable_sequence, first_sequence)

    def may_be_asked_again(self, now_s: float, every_s: float) -> bool:
        """Whether to ask for the message that is missing: once, and again after `every_s`."""
        asked, when_s = self.gap_told
        if asked == self.next_sequence and now_s - when_s < every_s:
            return False
        self.gap_told = (self.next_sequence, now_s)
        return True

    def may_be_welcomed_again(self, now_s: float, every_s: float) -> bool:
        """Whether to answer a Hello of this connection: once, and again after `every_s`."""
        whom, when_s = self.welcomed
        if whom == self.identity and now_s - when_s < every_s:
            return False
        self.welcomed = (self.identity, now_s)
        return True

    def grant(self, credit: Credit, sharers: int) -> int:
        """Rows that the client may have in flight beyond `next_sequence`, if `sharers` share the credit."""
        queue, undurable = (
            max(1, rows // max(1, sharers)) for rows in (credit.queue_rows, credit.undurable_rows)
        )
        free = min(min(credit.credit_rows, queue) - self.queued_rows, undurable - self.undurable_rows)
        return max(0, free)

    def welcome(self, credit_rows: int) -> Welcome:
        """Asks for everything from the first message that was not received."""
        return Welcome(
            session=self.session,
            next_sequence=self.next_sequence,
            durable_sequence=self.durable_sequence,
            credit_rows=credit_rows,
            run=None,
        )

    def ack(self, credit_rows: int) -> Ack:
        """What was received and what is durable."""
        self.owes_ack = False
        return Ack(
            session=self.session,
            next_sequence=self.next_sequence,
            durable_sequence=self.durable_sequence,
            credit_rows=credit_rows,
        )
