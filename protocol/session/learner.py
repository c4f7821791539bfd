"""The learner's side of all sessions: who is there, what is new, who may send how much."""

from collections.abc import Iterable, Iterator
from typing import Any

from protocol.experience import ExperienceSpec
from protocol.messages import Ack, Hello, Refused, Welcome
from protocol.session.compatibility import mismatch
from protocol.session.peer import Credit, Peer, SessionState, Verdict

# Names and sessions remembered at most; the longest silent are forgotten first.
MOST_PEERS = 4096


class PeerTable:
    """All sessions of a learner; `identity` is ZeroMQ's name of a connection.

    Args:
        spec: what clients must offer.
        run: what a client that offers no spec is told; None: it is refused.
        lease_s: silence after which a peer counts as gone, and its share of the credit is free.
        heartbeat_s: how soon a request to send again may be repeated.
    """

    def __init__(
        self,
        spec: ExperienceSpec,
        credit: Credit,
        *,
        run: dict[str, Any] | None = None,
        lease_s: float,
        heartbeat_s: float,
    ) -> None:
        self._spec, self._credit, self._run = spec, credit, run
        self._lease_s, self._heartbeat_s = lease_s, heartbeat_s
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
        """Open, resume or refuse a session, or describe the run to a client that offers no spec: (identity,
        answer) pairs, the caller's own first.

        While a learner is away, Hellos pile up in its clients' sockets: of those that come together one
        is answered, as each answer makes the client send everything again.
        """
        reason = mismatch(hello, self._spec) or self._why_closed(hello.session)
        known = self._by_session.get(hello.session)
        if known is not None and known.actor_id != hello.actor_id:
            reason = f"the session number of {hello.actor_id} is taken: draw another at random"
        if reason:
            return [(identity, Refused(reason=reason))]
        if hello.spec is None:
            return [(identity, self._describe_run(hello.session))]
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
        peer.start_at(hello.first_sequence)
        if not peer.may_be_welcomed_again(now_s, self._heartbeat_s):
            return []
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
        return peer.admit(sequence, rows, self._credit)

    def wants_resend(self, peer: Peer, now_s: float) -> bool:
        """Whether to answer a gap: once for each missing message, again after a heartbeat."""
        return peer.may_be_asked_again(now_s, self._heartbeat_s)

    def drained(self, session: int, rows: int) -> None:
        """Give back the credit of rows that left the queue."""
        peer = self._by_session.get(session)
        if peer is not None:
            peer.drained(rows)

    def durable(self, session: int, next_sequence: int) -> None:
        """Everything below `next_sequence` is on disk."""
        peer = self._by_session.get(session)
        if peer is not None:
            peer.became_durable(next_sequence)

    def welcome(self, peer: Peer, now_s: float) -> Welcome:
        """Asks for everything from the first message that was not received."""
        return peer.welcome(peer.grant(self._credit, len(self.live(now_s))))

    def acks(self, now_s: float, *, everybody: bool) -> list[tuple[bytes, Ack]]:
        """Acks that are owed, or one for each live peer."""
        live = self.live(now_s)
        return [
            (peer.identity, peer.ack(peer.grant(self._credit, len(live))))
            for peer in live
            if everybody or peer.owes_ack
        ]

    def _describe_run(self, session: int) -> Welcome | Refused:
        """Remembers nothing of who asks."""
        if self._run is None:
            return Refused(reason="this learner does not tell what it trains: say hello with a spec")
        return Welcome(session=session, next_sequence=0, durable_sequence=0, credit_rows=0, run=self._run)

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
