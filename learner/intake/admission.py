"""What the learner does with each message: check, drop duplicates, queue, answer.

Knows no sockets, no threads and no clock; `intake.py` gives it all three.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from learner.intake.publications import Publications
from learner.intake.queue import Received, ReceivedQueue
from learner.intake.rejections import Rejections
from protocol.arrays import Buffer, Limits, ProtocolError
from protocol.codec import VersionError, decode_from_client
from protocol.experience import ExperienceCheck, ExperienceSpec
from protocol.messages import Evaluation, Experience, FromLearner, Heartbeat, Hello, Refused, WeightsRequest
from protocol.session.compatibility import LONGEST_NAME
from protocol.session.learner import PeerTable
from protocol.session.peer import Peer, Verdict

log = logging.getLogger(__name__)

# Figures that a client may show; each is kept, so their number is bounded.
MOST_FIGURES = 64

Answers = list[tuple[bytes, FromLearner]]
"""Whom to answer, and what."""


class Log(Protocol):
    """Makes received messages durable: `learner.replay.journal.journal.Journal`."""

    def append(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer]) -> int: ...

    def end_session(self, actor_id: str, session: int) -> None: ...


class Admission:
    """Everything received and not yet drained, and everybody who sent it. One caller at a time.

    Args:
        spec: what clients must offer.
        peers: their sessions.
        limits: of one message.
        journal: gets every numbered message; None: what is received counts as durable.
    """

    def __init__(
        self, spec: ExperienceSpec, peers: PeerTable, limits: Limits, journal: Log | None = None
    ) -> None:
        self._check_experience = ExperienceCheck(spec)
        self._peers, self._limits, self._journal = peers, limits, journal
        self.queue = ReceivedQueue(waits_for_disk=journal is not None)
        self.evaluations: list[Evaluation] = []
        self.rejections = Rejections()
        self.publications = Publications()

    def receive(self, frames: Sequence[Buffer], identity: bytes, address: str, now_s: float) -> Answers:
        """Judge one message. No content of a message makes this raise."""
        try:
            message = decode_from_client(frames, self._limits)
        except VersionError as error:
            self.rejections.reject(error.fault, address, str(error), now_s)
            return [(identity, Refused(reason=f"{error}: install the same release on both sides"))]
        except ProtocolError as error:
            self.rejections.reject(error.fault, address, str(error), now_s)
            return []
        if isinstance(message, Hello):
            return self._open(message, identity, address, now_s)
        peer = self._peers.find(message.session, identity, now_s)
        if peer is None:
            return self._reject_session(message.session, identity, address, now_s)
        match message:
            case Experience() | Evaluation():
                return self._receive_numbered(peer, message, frames, now_s)
            case Heartbeat():
                self._note_figures(peer, message, now_s)
                return []
            case WeightsRequest():
                return self._newest(identity)

    def durable(self, next_sequences: dict[int, int]) -> None:
        """Everything below these sequence numbers, by session, is on disk."""
        for session, next_sequence in next_sequences.items():
            self._peers.durable(session, next_sequence)
        self.queue.durable(next_sequences)

    def take(self, max_rows: int | None) -> list[Received]:
        """As `ReceivedQueue.take`; gives the credit of these rows back."""
        taken = self.queue.take(max_rows)
        for received in taken:
            self._peers.drained(received.session, received.rows)
        return taken

    def due(self, now_s: float, *, heartbeat: bool, progress: bool) -> Answers:
        """Acks that are owed, and the progress; at a heartbeat both go to everybody alive."""
        answers: Answers = [*self._peers.acks(now_s, everybody=heartbeat)]
        newest = self.publications.progress
        if newest is not None and (heartbeat or progress):
            answers += [(peer.identity, newest) for peer in self._peers.live(now_s)]
        return answers

    def _open(self, hello: Hello, identity: bytes, address: str, now_s: float) -> Answers:
        answers = self._peers.open(hello, identity, address, now_s)
        for actor_id, session in self._peers.take_ended():
            self.queue.end_session(actor_id, session)
            if self._journal is not None:
                self._journal.end_session(actor_id, session)
        for receiver, answer in answers:
            if isinstance(answer, Refused):
                who = address if receiver == identity else f"the earlier {hello.actor_id}"
                self.rejections.reject("refused", who, answer.reason, now_s)
        if hello.spec is None or not answers or isinstance(answers[0][1], Refused):
            return [*answers]
        log.info("%s %s at %s says hello", hello.role, hello.actor_id, address)
        return [*answers, *self._newest(identity)]

    def _reject_session(self, session: int, identity: bytes, address: str, now_s: float) -> Answers:
        """Answer a session that is not open; a client of an earlier learner will say Hello by itself."""
        farewell = self._peers.farewell(session)
        if farewell is None:
            reason = "it has not said hello to this learner"
            self.rejections.reject("unknown_session", address, reason, now_s)
            return []
        return [(identity, farewell)]

    def _receive_numbered(
        self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer], now_s: float
    ) -> Answers:
        problem = self._problem(peer, message)
        rows = len(message.columns["frames"]) if isinstance(message, Experience) and not problem else 0
        match self._peers.admit(peer, message.sequence, rows):
            case Verdict.NEW if problem:
                # It counts as received: the same bytes again would be no better.
                self._make_durable(peer, message, ())
                self.rejections.reject(f"bad_{message.__struct_config__.tag}", peer.actor_id, problem, now_s)
            case Verdict.NEW:
                self._accept(peer, message, self._make_durable(peer, message, frames))
            case Verdict.GAP:
                self.rejections.counters["gaps"] += 1
                if self._peers.wants_resend(peer, now_s):
                    return [(peer.identity, self._peers.welcome(peer, now_s))]
            case Verdict.DUPLICATE:
                self.rejections.counters["duplicates"] += 1
            case Verdict.OVER_CREDIT:
                waiting = f"{peer.queued_rows} rows already wait"
                self.rejections.reject("over_credit", peer.actor_id, waiting, now_s)
        return []

    def _note_figures(self, peer: Peer, message: Heartbeat, now_s: float) -> None:
        figures = message.figures
        if len(figures) > MOST_FIGURES or any(len(name) > LONGEST_NAME for name in figures):
            problem = f"{len(figures)} figures, or a long name"
            self.rejections.reject("bad_heartbeat", peer.actor_id, problem, now_s)
            return
        peer.figures = figures
        self.publications.note_version(peer.actor_id, figures.get("version"), now_s)

    def _make_durable(self, peer: Peer, message: Experience | Evaluation, frames: Sequence[Buffer]) -> int:
        """Give it to the journal; without frames only its number, so that it stays acknowledged. Returns the
        position of its rows."""
        if self._journal is None:
            self._peers.durable(peer.session, message.sequence + 1)
            return 0
        return self._journal.append(peer, message, frames)

    def _problem(self, peer: Peer, message: Experience | Evaluation) -> str | None:
        if isinstance(message, Evaluation):
            successes, true, seeds = message.successes, message.true_successes, len(message.seeds)
            same = len(successes) == seeds > 0 and (true is None or len(true) == seeds)
            return None if same else f"{len(successes)} successes, {seeds} seeds, or other true successes"
        if peer.role != "actor":
            return f"experience of an {peer.role}"
        try:
            self._check_experience(message.columns)
        except ProtocolError as error:
            return str(error)
        return None

    def _accept(self, peer: Peer, message: Experience | Evaluation, position: int) -> None:
        if isinstance(message, Evaluation):
            self.evaluations.append(message)
            self.rejections.counters["evaluations"] += 1
            return
        received = Received(peer.actor_id, peer.session, message.columns, position)
        self.queue.put(message.sequence, received)
        self.rejections.counters["rows"] += received.rows

    def _newest(self, identity: bytes) -> Answers:
        return [(identity, message) for message in self.publications.newest]
