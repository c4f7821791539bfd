"""Who may send what next. Knows no sockets and reads no clock.

A client numbers what must arrive, keeps it until it is acknowledged, and sends while the learner grants
rows. Hello may be said at any time and any number of times; each Welcome says from where to send again.
So one rule heals a lost message, a lost connection and a restarted learner alike: say Hello.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from protocol.arrays import ProtocolError
from protocol.messages import (
    Ack,
    Columns,
    Evaluation,
    Experience,
    FromClient,
    FromLearner,
    Heartbeat,
    Hello,
    Progress,
    Refused,
    Welcome,
)

# Heartbeats without a word, or without an expected ack, after which a client says Hello again.
PATIENCE_HEARTBEATS = 3.0


class ClientSession:
    """The client's side: `receive` what came, then send `due` in order.

    Args:
        hello: the first message; its session number must be fresh for every process.
        heartbeat_s: how often this client says that it lives; the learner's rhythm too.
        now_s: any steady clock, the same at every call.
    """

    def __init__(self, hello: Hello, *, heartbeat_s: float, now_s: float) -> None:
        self._hello = hello
        self._heartbeat_s = heartbeat_s
        self._held: deque[Experience | Evaluation] = deque()  # not acknowledged, oldest first
        self._sent = 0  # how many of those were sent since the last Welcome
        self._next_sequence = 0
        self._credit_rows = 0
        self.connected = False
        self.refused: str | None = None
        self.progress: Progress | None = None
        self.figures: dict[str, float] = {}
        self.reopen(now_s)

    def reopen(self, now_s: float) -> None:
        """Start with Hello, as if nothing was ever heard."""
        self.connected = False
        self._hello_due_s = now_s
        self._heartbeat_due_s = now_s
        self._heard_s = self._moved_s = now_s

    @property
    def rows_in_flight(self) -> int:
        """Rows sent and not acknowledged."""
        return sum(_rows(self._held[i]) for i in range(self._sent))

    @property
    def unsent(self) -> int:
        """Messages that wait for a connection or for credit."""
        return len(self._held) - self._sent

    @property
    def unacknowledged(self) -> int:
        """Messages, sent or not, that the learner has not confirmed."""
        return len(self._held)

    def silent_s(self, now_s: float) -> float:
        """Time since the learner's last word."""
        return now_s - self._heard_s

    def submit_experience(self, columns: Columns) -> None:
        """Queue one batch."""
        self._submit(Experience(session=self._hello.session, sequence=self._next_sequence, columns=columns))

    def submit_evaluation(
        self, *, policy: str, version: int, successes: list[bool], seeds: list[int], wall_s: float
    ) -> None:
        """Queue one evaluation; it costs no credit."""
        self._submit(
            Evaluation(
                session=self._hello.session,
                sequence=self._next_sequence,
                policy=policy,
                version=version,
                successes=successes,
                seeds=seeds,
                wall_s=wall_s,
            )
        )

    def due(self, now_s: float) -> Iterator[FromClient]:
        """What to send now, in order; all of it counts as sent."""
        if self._is_stuck(now_s):
            self.connected = False
        if self.refused is not None:
            return
        if not self.connected:
            if now_s >= self._hello_due_s:
                self._hello_due_s = now_s + PATIENCE_HEARTBEATS * self._heartbeat_s
                yield msgspec.structs.replace(self._hello, first_sequence=self._first_sequence)
            return
        while self.unsent and self._may_send(message := self._held[self._sent]):
            if not self._sent:
                self._moved_s = now_s
            self._sent += 1
            yield message
        if now_s >= self._heartbeat_due_s:
            self._heartbeat_due_s = now_s + self._heartbeat_s
            yield Heartbeat(session=self._hello.session, figures=self.figures)

    def receive(self, message: FromLearner, now_s: float) -> None:
        """Take in what the learner said; weights are the caller's.

        Raises:
            ProtocolError: an ack of what was never sent.
        """
        self._heard_s = now_s
        match message:
            case Welcome() if message.session == self._hello.session:
                self._welcome(message, now_s)
            case Ack() if message.session == self._hello.session:
                self._acknowledge(message.next_sequence, message.credit_rows, now_s)
            case Refused():
                self.refused = message.reason
            case Progress():
                self.progress = message
            case _:
                pass

    @property
    def _first_sequence(self) -> int:
        return self._next_sequence - len(self._held)

    def _submit(self, message: Experience | Evaluation) -> None:
        self._held.append(message)
        self._next_sequence += 1

    def _may_send(self, message: Experience | Evaluation) -> bool:
        # While some credit is left, not while it covers the batch: so a batch above the whole credit
        # goes out too, and at most one batch is over.
        return _rows(message) == 0 or self.rows_in_flight < self._credit_rows

    def _is_stuck(self, now_s: float) -> bool:
        patience_s = PATIENCE_HEARTBEATS * self._heartbeat_s
        unacknowledged = self._sent > 0 and now_s - self._moved_s > patience_s
        return self.connected and (unacknowledged or now_s - self._heard_s > patience_s)

    def _welcome(self, message: Welcome, now_s: float) -> None:
        if message.next_sequence < self._first_sequence:
            return  # overtaken by a later ack
        self._acknowledge(message.next_sequence, message.credit_rows, now_s)
        self._sent = 0
        self._moved_s = now_s
        self.connected = True

    def _acknowledge(self, next_sequence: int, credit_rows: int, now_s: float) -> None:
        if next_sequence > self._next_sequence:
            raise ProtocolError(
                f"the learner acknowledges message {next_sequence - 1}, only {self._next_sequence} exist"
            )
        if next_sequence < self._first_sequence:
            return  # overtaken by a later ack
        for _ in range(next_sequence - self._first_sequence):
            self._held.popleft()
            self._sent = max(0, self._sent - 1)
            self._moved_s = now_s
        self._credit_rows = credit_rows


def _rows(message: Experience | Evaluation) -> int:
    """Rows of credit that a message takes; `frames` has one entry a row."""
    return len(message.columns["frames"]) if isinstance(message, Experience) else 0
