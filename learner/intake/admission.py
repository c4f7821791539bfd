"""What the learner does with each message: check, drop duplicates, queue, answer.

Knows no sockets, no threads and no clock; `intake.py` gives it all three.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from protocol.arrays import Buffer, Limits, ProtocolError
from protocol.codec import VersionError, decode_from_client
from protocol.experience import ExperienceCheck, ExperienceSpec
from protocol.messages import (
    Columns,
    Evaluation,
    Experience,
    FromLearner,
    Heartbeat,
    Hello,
    Progress,
    Refused,
    Weights,
    WeightsRequest,
)
from protocol.session.learner import LONGEST_NAME, Peer, PeerTable, Verdict

log = logging.getLogger(__name__)

# Figures that a client may show; each is kept, so their number is bounded.
MOST_FIGURES = 64
# One log line for each class of rejected message in so many seconds.
_LOG_EVERY_S = 5.0

Answers = list[tuple[bytes, FromLearner]]


class Received(NamedTuple):
    """One admitted batch."""

    actor_id: str
    session: int
    columns: Columns
    """As in `Experience`; read-only arrays."""
    position: int = 0
    """Of its first row in the stream of rows of the run, one a decision and one a final observation; the
    journal knows it, too. Always 0 without a journal."""


class Log(Protocol):
    """What makes received messages durable: `learner.replay.journal.journal.Journal`."""

    def append(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer]) -> int: ...

    def end_session(self, actor_id: str, session: int) -> None: ...


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What people see of an actor or evaluator."""

    actor_id: str
    role: str
    session: int
    alive: bool
    address: str
    rows: int
    """Accepted from this process since it, or the learner, started."""
    queued_rows: int
    last_seen_s: float
    """Seconds since its last word."""
    figures: dict[str, float]


class _Queued(NamedTuple):
    session: int
    sequence: int
    rows: int
    received: Received


class Admission:
    """All that was received and not yet taken, and everybody who sent it. One caller at a time.

    Args:
        spec: what clients must offer.
        peers: their sessions.
        limits: of one message.
        journal: is handed every numbered message; None: what is received counts as durable.
    """

    def __init__(
        self, spec: ExperienceSpec, peers: PeerTable, limits: Limits, journal: Log | None = None
    ) -> None:
        self._check_experience = ExperienceCheck(spec)
        self._peers = peers
        self._limits = limits
        self._journal = journal
        self._ended: list[tuple[str, int]] = []
        self._queue: collections.deque[_Queued] = collections.deque()
        self._durable: dict[int, int] = {}  # session -> first sequence that is not on disk
        self._logged_s: dict[str, float] = {}
        self.queued_rows = 0
        self.evaluations: list[Evaluation] = []
        self.counters: collections.Counter[str] = collections.Counter()
        self.progress: Progress | None = None
        self.weights: Weights | None = None
        self._published_s: tuple[int, float] = (-1, 0.0)  # version, when
        self._adopted: dict[str, int] = {}
        self.adoption_delays_s: collections.deque[float] = collections.deque(maxlen=100)

    def take_in(self, frames: Sequence[Buffer], identity: bytes, address: str, now_s: float) -> Answers:
        """Judge one message; returns (identity, answer) pairs. Nothing that it holds raises."""
        try:
            message = decode_from_client(frames, self._limits)
        except VersionError as error:
            self._reject(error.fault, address, str(error), now_s)
            return [(identity, Refused(reason=f"{error}: install the same release on both sides"))]
        except ProtocolError as error:
            self._reject(error.fault, address, str(error), now_s)
            return []
        if isinstance(message, Hello):
            return self._open(message, identity, address, now_s)
        peer = self._peers.find(message.session, identity, now_s)
        if peer is None:
            return self._turn_away(message.session, identity, address, now_s)
        match message:
            case Experience() | Evaluation():
                return self._take_numbered(peer, message, frames, now_s)
            case Heartbeat():
                return self._note_figures(peer, message, now_s)
            case WeightsRequest():
                return self._news(identity)

    @property
    def ready(self) -> bool:
        """Whether `take` has something: nobody may use rows that a crash could still lose, or they would
        come again, in another order."""
        if not self._queue or self._journal is None:
            return bool(self._queue)
        oldest = self._queue[0]
        return self._durable.get(oldest.session, 0) > oldest.sequence

    def durable(self, next_sequences: dict[int, int]) -> None:
        """Everything below these sequence numbers, by session, is on disk."""
        for session, next_sequence in next_sequences.items():
            self._peers.durable(session, next_sequence)
        waiting = {item.session for item in self._queue}
        self._durable |= next_sequences
        self._durable = {session: mark for session, mark in self._durable.items() if session in waiting}

    def take(self, max_rows: int | None) -> list[Received]:
        """Durable batches, oldest first, up to `max_rows` but at least one; their credit is given back."""
        taken: list[Received] = []
        rows = 0
        while self.ready and (not taken or max_rows is None or rows + self._queue[0].rows <= max_rows):
            item = self._queue.popleft()
            rows += item.rows
            taken.append(item.received)
            self._peers.drained(item.session, item.rows)
        self.queued_rows -= rows
        return taken

    def take_ended(self) -> list[tuple[str, int]]:
        """(actor id, session) of sessions that were replaced, once all their rows are taken."""
        if not self._ended:
            return []
        waiting = {item.session for item in self._queue}
        over = [ended for ended in self._ended if ended[1] not in waiting]
        self._ended = [ended for ended in self._ended if ended[1] in waiting]
        return over

    def published(self, weights: Weights, now_s: float) -> None:
        """These are the newest weights."""
        self.weights = weights
        self._published_s = (weights.version, now_s)
        alive = {peer.actor_id for peer in self._peers.live(now_s)}
        self._adopted = {name: version for name, version in self._adopted.items() if name in alive}

    def due(self, now_s: float, *, heartbeat: bool, progress: bool) -> Answers:
        """Acks that are owed, and the progress; at a heartbeat both go to everybody alive."""
        answers: Answers = [*self._peers.acks(now_s, everybody=heartbeat)]
        if self.progress is not None and (heartbeat or progress):
            answers += [(peer.identity, self.progress) for peer in self._peers.live(now_s)]
        return answers

    def statuses(self, now_s: float) -> list[PeerStatus]:
        """Everybody known, in the order of their coming."""
        return [
            PeerStatus(
                actor_id=peer.actor_id,
                role=peer.role,
                session=peer.session,
                alive=self._peers.alive(peer, now_s),
                address=peer.address,
                rows=peer.rows,
                queued_rows=peer.queued_rows,
                last_seen_s=now_s - peer.last_seen_s,
                figures=peer.figures,
            )
            for peer in self._peers
        ]

    def _open(self, hello: Hello, identity: bytes, address: str, now_s: float) -> Answers:
        answers = self._peers.open(hello, identity, address, now_s)
        for actor_id, session in self._peers.take_ended():
            self._ended.append((actor_id, session))
            if self._journal is not None:
                self._journal.end_session(actor_id, session)
        for receiver, answer in answers:
            if isinstance(answer, Refused):
                who = address if receiver == identity else f"the earlier {hello.actor_id}"
                self._reject("refused", who, answer.reason, now_s)
        if not answers or isinstance(answers[0][1], Refused):
            return [*answers]
        log.info("%s %s at %s says hello", hello.role, hello.actor_id, address)
        return [*answers, *self._news(identity)]

    def _turn_away(self, session: int, identity: bytes, address: str, now_s: float) -> Answers:
        """Answer a session that is not open; a client of an earlier learner will say Hello by itself."""
        farewell = self._peers.farewell(session)
        if farewell is None:
            self._reject("unknown_session", address, "it has not said hello to this learner", now_s)
            return []
        return [(identity, farewell)]

    def _take_numbered(
        self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer], now_s: float
    ) -> Answers:
        problem = self._problem(peer, message)
        rows = len(message.columns["frames"]) if isinstance(message, Experience) and not problem else 0
        verdict = self._peers.admit(peer, message.sequence, rows)
        position = 0
        if verdict is Verdict.NEW:
            position = self._make_durable(peer, message, () if problem else frames)
        match verdict:
            case Verdict.NEW if problem:
                # It counts as received: the same bytes again would be no better.
                self._reject(f"bad_{message.__struct_config__.tag}", peer.actor_id, problem, now_s)
            case Verdict.NEW:
                self._keep(peer, message, rows, position)
            case Verdict.GAP:
                self.counters["gaps"] += 1
                if self._peers.wants_resend(peer, now_s):
                    return [(peer.identity, self._peers.welcome(peer, now_s))]
            case Verdict.DUPLICATE:
                self.counters["duplicates"] += 1
            case Verdict.OVER_CREDIT:
                self._reject("over_credit", peer.actor_id, f"{peer.queued_rows} rows already wait", now_s)
        return []

    def _note_figures(self, peer: Peer, message: Heartbeat, now_s: float) -> Answers:
        figures = message.figures
        if len(figures) > MOST_FIGURES or any(len(name) > LONGEST_NAME for name in figures):
            self._reject("bad_heartbeat", peer.actor_id, f"{len(figures)} figures, or a long name", now_s)
            return []
        peer.figures = figures
        version, when_s = self._published_s
        if figures.get("version") == version and self._adopted.get(peer.actor_id) != version:
            self._adopted[peer.actor_id] = version
            self.adoption_delays_s.append(now_s - when_s)
        return []

    def _make_durable(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer]) -> int:
        """Hand to the journal; without frames its number alone, so that it stays acknowledged. Returns the
        position of its rows."""
        if self._journal is None:
            self._peers.durable(peer.session, message.sequence + 1)
            return 0
        return self._journal.append(peer, message, frames)

    def _problem(self, peer: Peer, message: Experience | Evaluation) -> str | None:
        """What keeps a message out, in one line."""
        if isinstance(message, Evaluation):
            same = len(message.successes) == len(message.seeds) > 0
            return None if same else f"{len(message.successes)} successes, {len(message.seeds)} seeds"
        if peer.role != "actor":
            return f"experience of an {peer.role}"
        try:
            self._check_experience(message.columns)
        except ProtocolError as error:
            return str(error)
        return None

    def _keep(self, peer: Peer, message: Experience | Evaluation, rows: int, position: int) -> None:
        if isinstance(message, Evaluation):
            self.evaluations.append(message)
            self.counters["evaluations"] += 1
            return
        self._queue.append(
            _Queued(
                peer.session,
                message.sequence,
                rows,
                Received(peer.actor_id, peer.session, message.columns, position),
            )
        )
        self.queued_rows += rows
        self.counters["rows"] += rows

    def _news(self, identity: bytes) -> Answers:
        news = (self.progress, self.weights)
        return [(identity, message) for message in news if message is not None]

    def _reject(self, kind: str, who: str, why: str, now_s: float) -> None:
        """Count it, and log it unless one of its kind was logged just now."""
        self.counters[kind] += 1
        last_s = self._logged_s.get(kind)
        if last_s is None or now_s - last_s >= _LOG_EVERY_S:
            self._logged_s[kind] = now_s
            log.warning("%s (%d so far) from %s: %s", kind, self.counters[kind], who, why)
