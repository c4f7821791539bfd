"""The learner's side of all sessions: who is there, what is new, who may send how much."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from protocol.messages import PROTOCOL_VERSION, Ack, ExperienceSpec, Hello, Refused, Welcome

# Names and sessions remembered at most; the longest silent are forgotten first.
MOST_PEERS = 4096
LONGEST_NAME = 64

# Field of the spec -> what its owner should do, filled with the learner's value.
_REMEDIES = {
    "env_id": "start it with the same task",
    "control_mode": "start it with task.control_mode={0}",
    "observation_dim": "start it with the same task",
    "action_dim": "start it with the same task",
    "act_horizon": "start it with base.act_horizon={0}",
    "residual_every": "start it with algo.residual_every={0}",
    "base_fingerprint": "give both the same base.path",
    "residual_scale": "start it with algo.residual_scale={0}",
    "policy": "start it with the learner's algo",
    "optional_columns": "start it with the learner's configuration",
    "cameras": "start it with the learner's task.cameras, task.camera_size and learner.record_images",
}


class SessionState(msgspec.Struct, frozen=True, array_like=True):
    """What a learner must remember of a session when it is restarted."""

    actor_id: str
    role: str
    session: int
    next_sequence: int
    """Everything below is on disk."""
    ended: bool
    """The actor came back with a newer session: this one will never send again."""


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


class PeerTable:
    """All sessions of a learner; `identity` is ZeroMQ's name of a connection.

    Args:
        credit_rows: rows in flight that one client is granted at most.
        queue_rows: rows in flight that all live clients together are granted, in equal shares.
        undurable_rows: rows received and not on disk that all live clients together are granted, as well.
        lease_s: silence after which a peer counts as gone, and its share is free.
        heartbeat_s: how soon a request to send again may be repeated.
    """

    def __init__(
        self,
        spec: ExperienceSpec,
        *,
        credit_rows: int,
        queue_rows: int,
        undurable_rows: int,
        lease_s: float,
        heartbeat_s: float,
    ) -> None:
        self._spec = spec
        self._credit_rows = credit_rows
        self._queue_rows = queue_rows
        self._undurable_rows = undurable_rows
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._by_actor: dict[str, Peer] = {}
        self._by_session: dict[int, Peer] = {}
        self._replaced: dict[int, str] = {}  # session -> the actor whose newer process closed it
        self._opened_by: dict[bytes, int] = {}  # identity -> session of its last Hello
        self._ended: list[tuple[str, int]] = []

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_actor.values())

    def restore(self, states: Iterable[SessionState]) -> None:
        """Know the sessions of an earlier learner; they count as gone until they are heard."""
        for state in states:
            if state.ended:
                self._close(state.actor_id, state.session)
                continue
            peer = Peer(
                actor_id=state.actor_id,
                role=state.role,
                session=state.session,
                address="",
                identity=b"",
                next_sequence=state.next_sequence,
                last_seen_s=-float("inf"),
                durable_sequence=state.next_sequence,
            )
            self._by_actor[peer.actor_id] = self._by_session[peer.session] = peer
            self._forget_longest_silent()

    def take_ended(self) -> list[tuple[str, int]]:
        """(actor id, session) of those that a newer session replaced since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def alive(self, peer: Peer, now_s: float) -> bool:
        """Whether the peer was heard within its lease."""
        return now_s - peer.last_seen_s <= self._lease_s

    def live(self, now_s: float) -> list[Peer]:
        """The peers heard within their lease."""
        return [peer for peer in self if self.alive(peer, now_s)]

    def open(
        self, hello: Hello, identity: bytes, address: str, now_s: float
    ) -> list[tuple[bytes, Welcome | Refused]]:
        """Open, take up or refuse a session: (identity, answer) pairs, the caller's own first.

        While a learner is away, Hellos pile up in its clients' sockets: of those that come together one
        is answered, as each answer makes the client send everything again.
        """
        reason = mismatch(hello, self._spec) or self._why_closed(hello.session)
        known = self._by_session.get(hello.session)
        if known is not None and known.actor_id != hello.actor_id:
            reason = f"the session number of {hello.actor_id} is taken: draw another at random"
        if reason:
            return [(identity, Refused(reason=reason))]
        self._forget_unused(identity, hello.session)
        farewell = self._replace(hello)
        peer = self._by_actor.get(hello.actor_id)
        if peer is None:
            peer = Peer(hello.actor_id, hello.role, hello.session, address, identity, 0, now_s)
            self._by_actor[hello.actor_id] = self._by_session[hello.session] = peer
            self._forget_longest_silent()
        self._move(peer, identity)
        self._opened_by[identity] = peer.session
        peer.address, peer.last_seen_s = address, now_s
        # What the client no longer holds was durable at a learner before this one.
        peer.next_sequence = max(peer.next_sequence, hello.first_sequence)
        peer.durable_sequence = max(peer.durable_sequence, hello.first_sequence)
        whom, when_s = peer.welcomed
        if whom == identity and now_s - when_s < self._heartbeat_s:
            return []
        peer.welcomed = (identity, now_s)
        return [(identity, self.welcome(peer, now_s)), *farewell]

    def find(self, session: int, identity: bytes, now_s: float) -> Peer | None:
        """The peer of a session, noted as alive behind `identity`; None if the session is not open."""
        peer = self._by_session.get(session)
        if peer is not None:
            self._move(peer, identity)
            peer.last_seen_s = now_s
        return peer

    def farewell(self, session: int) -> Refused | None:
        """What to say to a session that a newer one has replaced."""
        reason = self._why_closed(session)
        return None if reason is None else Refused(reason=reason)

    def admit(self, peer: Peer, sequence: int, rows: int) -> Verdict:
        """Judge a numbered message; if it is new, count it as received and queued."""
        peer.owes_ack = True
        if sequence < peer.next_sequence:
            return Verdict.DUPLICATE
        if sequence > peer.next_sequence:
            return Verdict.GAP
        if rows and (peer.queued_rows >= self._credit_rows or peer.undurable_rows >= self._undurable_rows):
            return Verdict.OVER_CREDIT
        peer.undurable.append((sequence, rows))
        peer.undurable_rows += rows
        peer.next_sequence += 1
        peer.queued_rows += rows
        peer.rows += rows
        return Verdict.NEW

    def wants_resend(self, peer: Peer, now_s: float) -> bool:
        """Whether to answer a gap: once for each missing message, again after a heartbeat."""
        asked, when_s = peer.gap_told
        if asked == peer.next_sequence and now_s - when_s < self._heartbeat_s:
            return False
        peer.gap_told = (peer.next_sequence, now_s)
        return True

    def drained(self, session: int, rows: int) -> None:
        """Give back the credit of rows that left the queue."""
        peer = self._by_session.get(session)
        if peer is not None:
            peer.queued_rows -= rows
            peer.owes_ack = True

    def durable(self, session: int, next_sequence: int) -> None:
        """Everything below `next_sequence` is on disk."""
        peer = self._by_session.get(session)
        if peer is None:
            return
        peer.durable_sequence = max(peer.durable_sequence, next_sequence)
        while peer.undurable and peer.undurable[0][0] < next_sequence:
            peer.undurable_rows -= peer.undurable.popleft()[1]
        peer.owes_ack = True

    def welcome(self, peer: Peer, now_s: float) -> Welcome:
        """Asks for everything from the first message that was not received."""
        credit_rows = self._window(peer, len(self.live(now_s)))
        return Welcome(
            session=peer.session,
            next_sequence=peer.next_sequence,
            durable_sequence=peer.durable_sequence,
            credit_rows=credit_rows,
        )

    def acks(self, now_s: float, *, everybody: bool) -> list[tuple[bytes, Ack]]:
        """Acks that are owed, or one for each live peer."""
        found: list[tuple[bytes, Ack]] = []
        live = self.live(now_s)
        for peer in live:
            if everybody or peer.owes_ack:
                peer.owes_ack = False
                ack = Ack(
                    session=peer.session,
                    next_sequence=peer.next_sequence,
                    durable_sequence=peer.durable_sequence,
                    credit_rows=self._window(peer, len(live)),
                )
                found.append((peer.identity, ack))
        return found

    def _window(self, peer: Peer, sharers: int) -> int:
        queue, undurable = (
            max(1, rows // max(1, sharers)) for rows in (self._queue_rows, self._undurable_rows)
        )
        free = min(min(self._credit_rows, queue) - peer.queued_rows, undurable - peer.undurable_rows)
        return max(0, free)

    def _replace(self, hello: Hello) -> list[tuple[bytes, Refused]]:
        """Close the session of the same actor's earlier process, if there is one."""
        old = self._by_actor.get(hello.actor_id)
        if old is None or old.session == hello.session:
            return []
        self._forget(old)
        if old.next_sequence:
            self._ended.append((old.actor_id, old.session))
        self._close(old.actor_id, old.session)
        return [(old.identity, Refused(reason=self._why_closed(old.session) or ""))]

    def _close(self, actor_id: str, session: int) -> None:
        """Never again open a session."""
        self._replaced[session] = actor_id
        if len(self._replaced) > MOST_PEERS:
            del self._replaced[next(iter(self._replaced))]

    def _why_closed(self, session: int) -> str | None:
        name = self._replaced.get(session)
        return name and f"another process named {name} took over: give each actor its own actor.id"

    def _move(self, peer: Peer, identity: bytes) -> None:
        """Answer the peer over another connection."""
        if peer.identity != identity:
            self._opened_by.pop(peer.identity, None)
            peer.identity = identity

    def _forget_unused(self, identity: bytes, session: int) -> None:
        """One connection opens one session: an earlier one of it that never sent anything goes."""
        unused = self._by_session.get(self._opened_by.get(identity, session))
        if unused is not None and unused.session != session and unused.next_sequence == 0:
            self._forget(unused)

    def _forget_longest_silent(self) -> None:
        """Those that never sent a row go first: a crowd of hellos must not displace a silent actor."""
        if len(self._by_actor) > MOST_PEERS:
            self._forget(min(self, key=lambda peer: (peer.next_sequence > 0, peer.last_seen_s)))

    def _forget(self, peer: Peer) -> None:
        del self._by_actor[peer.actor_id], self._by_session[peer.session]
        self._opened_by.pop(peer.identity, None)


def mismatch(hello: Hello, spec: ExperienceSpec) -> str | None:
    """One line on the first thing that keeps this client from this learner; None if it fits."""
    if not 0 < len(hello.actor_id) <= LONGEST_NAME or not hello.actor_id.isprintable():
        return f"the name {hello.actor_id[:LONGEST_NAME]!r} is not 1 to {LONGEST_NAME} printable characters"
    who = f"{hello.role} {hello.actor_id}"
    if hello.role not in ("actor", "evaluator"):
        return f"{who!r} is neither actor nor evaluator"
    if hello.protocol_version != PROTOCOL_VERSION:
        return (
            f"{who} speaks protocol {hello.protocol_version}, this learner {PROTOCOL_VERSION}: "
            "install the same release on both sides"
        )
    for name in spec.__struct_fields__:
        theirs, ours = getattr(hello.spec, name), getattr(spec, name)
        if theirs != ours:
            remedy = _REMEDIES[name].format(ours)
            return f"{who} offers {name} {theirs}, this learner trains {name} {ours}: {remedy}"
    return None
