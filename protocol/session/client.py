"""A client's side of a session: what to send next. Knows no sockets and reads no clock.

A client numbers what must arrive, keeps it until it is durable, and sends while the learner grants rows.
Hello may be said at any time and any number of times; each Welcome says from where to send again. So one
rule heals a lost message, a lost connection and a restarted learner alike: say Hello.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

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

    Of its messages, by sequence number: durable <= received <= sent <= next. Those from `durable` on are
    kept; that is all the memory it needs, and the learner's credit bounds it.

    Args:
        hello: the first message; its session number must be fresh for every process. Without a spec it asks
            for the run, and this session ends with the answer.
        heartbeat_s: how often this client says that it lives; the learner's rhythm too.
        now_s: any steady clock, the same at every call.
        left_over: messages of an earlier process of this session that are perhaps not durable, in order.
            The only case in which a session outlives its process.
    """

    def __init__(
        self,
        hello: Hello,
        *,
        heartbeat_s: float,
        now_s: float,
        left_over: Sequence[Experience | Evaluation] = (),
    ) -> None:
        self._hello = hello
        self._heartbeat_s = heartbeat_s
        self.kept = deque(left_over)
        """Messages that are not durable, oldest first."""
        self._is_left_over = bool(left_over)
        self.durable = self._received = self._sent = left_over[0].sequence if left_over else 0
        """How many messages of this session are on the learner's disk."""
        self._next = self.durable + len(left_over)
        self.rows_in_flight = 0
        """Rows sent and not received."""
        self._credit_rows = 0
        self.connected = False
        self.refused: str | None = None
        self.progress: Progress | None = None
        self.run: dict[str, Any] | None = None
        """What the learner says that clients must share, if `hello` asked for it."""
        self.figures: dict[str, float] = {}
        self.reopen(now_s)

    def reopen(self, now_s: float) -> None:
        """Start with Hello, as if nothing was ever heard."""
        self.connected = False
        self._hello_due_s = now_s
        self._heartbeat_due_s = now_s
        self._heard_s = self._moved_s = now_s

    def hasten_heartbeat(self) -> None:
        """Let the next `due` include a heartbeat."""
        self._heartbeat_due_s = -float("inf")

    @property
    def unsent(self) -> int:
        """Messages that wait for a connection or for credit."""
        return self._next - self._sent

    @property
    def unreceived(self) -> int:
        """Messages, sent or not, that the learner has not confirmed."""
        return self._next - self._received

    @property
    def undurable(self) -> int:
        """How many messages this client keeps, since they are not on the learner's disk."""
        return len(self.kept)

    def silent_s(self, now_s: float) -> float:
        return now_s - self._heard_s

    def submit_experience(self, columns: Columns) -> None:
        self._submit(Experience(session=self._hello.session, sequence=self._next, columns=columns))

    def submit_evaluation(
        self,
        *,
        policy: str,
        version: int,
        successes: list[bool],
        seeds: list[int],
        wall_s: float,
        true_successes: list[bool] | None = None,
    ) -> None:
        """Queue one evaluation; it costs no credit."""
        self._submit(
            Evaluation(
                session=self._hello.session,
                sequence=self._next,
                policy=policy,
                version=version,
                successes=successes,
                seeds=seeds,
                wall_s=wall_s,
                true_successes=true_successes,
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
                # From 0, so that the answer shows whether this is the learner of another run, which must not
                # get an earlier process's rows.
                first = 0 if self._is_left_over else self.durable
                yield msgspec.structs.replace(self._hello, first_sequence=first)
            return
        while self.unsent and self._may_send(message := self.kept[self._sent - self.durable]):
            if self._sent == self._received:
                self._moved_s = now_s
            self._sent += 1
            self.rows_in_flight += _rows(message)
            yield message
        if now_s >= self._heartbeat_due_s:
            self._heartbeat_due_s = now_s + self._heartbeat_s
            yield Heartbeat(session=self._hello.session, figures=self.figures)

    def receive(self, message: FromLearner, now_s: float) -> None:
        """Take in what the learner said; weights are the caller's.
        Raises ProtocolError: an ack of what was never sent, or of more as durable than as received."""
        self._heard_s = now_s
        match message:
            case Welcome() if message.session == self._hello.session and self._hello.spec is None:
                self.run = message.run
                if message.run is None:
                    self.refused = "it does not say what it trains"
            case Welcome() if message.session == self._hello.session:
                if self._is_left_over and message.durable_sequence < self.durable:
                    self.refused = f"it does not know {self.durable} durable messages: it serves another run"
                elif self._acknowledge(message, now_s):
                    self._send_again_from_received(now_s)
                    self.connected = True
            case Ack() if message.session == self._hello.session:
                self._acknowledge(message, now_s)
            case Refused():
                self.refused = message.reason
            case Progress():
                self.progress = message
            case _:
                pass

    def _submit(self, message: Experience | Evaluation) -> None:
        self.kept.append(message)
        self._next += 1

    def _may_send(self, message: Experience | Evaluation) -> bool:
        # While some credit is left, not while it covers the batch: so a batch above the whole credit
        # goes out too, and at most one batch is over.
        return _rows(message) == 0 or self.rows_in_flight < self._credit_rows

    def _is_stuck(self, now_s: float) -> bool:
        patience_s = PATIENCE_HEARTBEATS * self._heartbeat_s
        unreceived = self._sent > self._received and now_s - self._moved_s > patience_s
        return self.connected and (unreceived or now_s - self._heard_s > patience_s)

    def _acknowledge(self, ack: Ack | Welcome, now_s: float) -> bool:
        """Move `durable` and `received`; False for an ack that a later one has overtaken."""
        if ack.next_sequence > self._next:
            raise ProtocolError(
                f"the learner acknowledges message {ack.next_sequence - 1}, only {self._next} exist"
            )
        if ack.durable_sequence > ack.next_sequence:
            raise ProtocolError(
                f"the learner calls {ack.durable_sequence} messages durable, but {ack.next_sequence} received"
            )
        if ack.next_sequence < self.durable:
            return False
        if ack.next_sequence < self._received:
            # A learner restarted so fast that nobody missed it, and what it had not synced is gone.
            self._received = ack.next_sequence
            self._send_again_from_received(now_s)
        for sequence in range(self._received, ack.next_sequence):
            if sequence < self._sent:
                self.rows_in_flight -= _rows(self.kept[sequence - self.durable])
            self._moved_s = now_s
        self._received = ack.next_sequence
        self._sent = max(self._sent, self._received)
        while self.durable < ack.durable_sequence:
            self.kept.popleft()
            self.durable += 1
        self._credit_rows = ack.credit_rows
        return True

    def _send_again_from_received(self, now_s: float) -> None:
        self._sent = self._received
        self.rows_in_flight = 0
        self._moved_s = now_s


def _rows(message: Experience | Evaluation) -> int:
    """Rows of credit that a message takes; `frames` has one entry a row."""
    return len(message.columns["frames"]) if isinstance(message, Experience) else 0
