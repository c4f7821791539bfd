"""The learner's receiving side: one thread owns the sockets; `admission.py` judges what arrives."""

import logging
import threading
import time
from typing import Any

import msgspec
import numpy as np

from config.process import UsageError
from config.wire import WireConfig
from learner.intake.admission import Admission, Answers
from learner.intake.pieces import Pieces
from learner.intake.queue import Received
from learner.intake.status import PeerStatus, peer_statuses
from learner.replay.journal.journal import Journal
from protocol.arrays import Limits, ProtocolError
from protocol.channel.addresses import ChannelError
from protocol.channel.keys import KeyFileError
from protocol.channel.learner import LearnerChannel
from protocol.channel.sockets import Endpoint
from protocol.codec import encode
from protocol.experience import ExperienceSpec
from protocol.messages import Evaluation, Progress, Weights, Welcome
from protocol.session.learner import PeerTable
from protocol.session.peer import Credit
from protocol.session.pieces import Blob

log = logging.getLogger(__name__)

# Pieces of a base that are sent before experience has its turn again.
_PIECES_A_ROUND = 4
_SUBSCRIPTIONS_A_ROUND = 256
# Messages received before answers go out: few, so that credit comes back while a client still has some.
_ROUND = 8
_CLOSE_TIMEOUT_S = 5.0


class IntakeError(UsageError):
    """The learner cannot listen; the message names the key to change."""


class Intake:
    """Receives from all clients on a thread of its own; its methods may be called by any thread.

    Args:
        wire: where to listen and how much one client may have in flight.
        spec: what clients must offer.
        queue_rows: rows that may wait to be drained, over all clients; the live ones share it.
        journal: makes acks durable, and knows the sessions of an earlier learner: replayed by its owner
            before `start`, which starts it, and closed by its owner after `close`. None: what this
            process received counts as durable.
        run: what a client that does not know the run is told; None: it is refused.

    Raises:
        IntakeError: no message has room for `run`.
    """

    def __init__(
        self,
        wire: WireConfig,
        spec: ExperienceSpec,
        *,
        queue_rows: int,
        journal: Journal | None = None,
        run: dict[str, Any] | None = None,
    ) -> None:
        self._wire = wire
        self._limits = msgspec.convert(wire, Limits, from_attributes=True)
        _require_room(run, self._limits)
        self._changed = threading.Condition()  # guards everything below
        peers = PeerTable(
            spec,
            Credit(
                credit_rows=wire.credit_rows,
                queue_rows=queue_rows,
                undurable_rows=queue_rows if journal is None else journal.most_pending_rows(spec),
            ),
            run=run,
            lease_s=wire.lease_s,
            heartbeat_s=wire.heartbeat_s,
        )
        self._peers = peers
        self._journal = journal
        self._admission = Admission(spec, peers, self._limits, journal)
        self._pieces = Pieces()
        self._progress_is_new = False
        self._weights_are_new = False
        self._closing = False
        self._failure: BaseException | None = None
        self._channel: LearnerChannel | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind and listen.
        Raises IntakeError: a port in use, keys that cannot be used, or no protection beyond loopback."""
        endpoint = msgspec.convert(self._wire, Endpoint, from_attributes=True)
        try:
            channel = LearnerChannel(endpoint, self._limits)
        except (ChannelError, KeyFileError) as error:
            raise IntakeError(str(error)) from error
        self._channel = channel
        if self._journal is not None:
            self._peers.restore(self._journal.sessions)
            self._journal.start(self._became_durable)
        self._thread = threading.Thread(target=self._run, args=(channel,), name="intake", daemon=True)
        self._thread.start()
        log.info("listening on %s", self._wire.address)

    def drain(self, max_rows: int | None = None, timeout_s: float = 0.0) -> list[Received]:
        """Take admitted batches, oldest first; their actors get the credit back.

        Args:
            max_rows: whole batches up to this many rows, but at least one; None takes all.
            timeout_s: how long to wait for the first.

        Raises:
            whatever ended the intake thread.
        """
        with self._changed:
            self._changed.wait_for(self._has_news, timeout_s)
            self._raise_if_failed()
            taken = self._admission.take(max_rows)
            if taken:
                self._wake()
            return taken

    def offer_base(self, blob: Blob) -> None:
        """Have the pieces of a trained base for clients that ask for them; weights announce it. In memory are
        this one and the one before."""
        with self._changed:
            self._pieces.offer(blob)

    def publish(self, weights: Weights) -> Weights:
        """Send to every subscriber now, and to later ones when they come.
        Returns what is sent: a copy, whose arrays never change."""
        columns = {name: np.array(array) for name, array in weights.columns.items()}
        with self._changed:
            weights = msgspec.structs.replace(weights, columns=columns)
            now_s = time.monotonic()
            live = {peer.actor_id for peer in self._peers.live(now_s)}
            self._admission.publications.publish(weights, live, now_s)
            self._weights_are_new = True
            self._wake()
        return weights

    def announce(self, progress: Progress) -> None:
        """Send this to all live peers at every heartbeat, and now if it changed."""
        with self._changed:
            if progress != self._admission.publications.progress:
                self._admission.publications.progress = progress
                self._progress_is_new = True
                self._wake()

    def evaluations(self) -> list[Evaluation]:
        """Those that arrived since the last call."""
        with self._changed:
            arrived, self._admission.evaluations = self._admission.evaluations, []
            return arrived

    def ended_sessions(self) -> list[tuple[str, int]]:
        """(actor id, session) of those that will never send again and whose rows were all drained, since
        the last call. Ask after `drain`."""
        with self._changed:
            return self._admission.queue.take_ended()

    def peers(self) -> list[PeerStatus]:
        """Everybody who said Hello to this learner, in the order in which they came."""
        with self._changed:
            return peer_statuses(self._peers, time.monotonic())

    def adoption_s(self) -> float:
        """Mean seconds from a publication to an actor's use of it, over the last; NaN before the first."""
        with self._changed:
            return self._admission.publications.adoption_s

    def counters(self) -> dict[str, int]:
        """Since the start: `rows` and `evaluations` accepted, `duplicates`, `gaps`, and rejected messages:
        `bad_header`, `bad_array`, `wrong_frames`, `over_limit`, `other_version`, `refused`,
        `unknown_session`, `over_credit`, `bad_experience`, `bad_evaluation`, `bad_heartbeat`.
        What never happened is missing."""
        with self._changed:
            counters = dict(self._admission.rejections.counters)
            if self._channel is not None and self._channel.turned_away:
                counters["turned_away"] = self._channel.turned_away
            return counters

    def queued_rows(self) -> int:
        """Rows that wait to be drained."""
        with self._changed:
            return self._admission.queue.rows

    def raise_if_failed(self) -> None:
        """Raise whatever ended the intake thread."""
        with self._changed:
            self._raise_if_failed()

    def close(self) -> None:
        """Deliver what was announced and published, then stop; may be called twice."""
        with self._changed:
            self._closing = True
            self._wake()
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _became_durable(self, next_sequences: dict[int, int]) -> None:
        """Called by the journal's thread: session -> first sequence that is not on disk."""
        with self._changed:
            self._admission.durable(next_sequences)
            self._changed.notify_all()
            self._wake()

    def _has_news(self) -> bool:
        return bool(self._admission.queue.ready or self._failure or self._closing)

    def _raise_if_failed(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        """Call with the lock: the thread closes its channel under it."""
        if self._channel is not None:
            self._channel.wake()

    def _run(self, channel: LearnerChannel) -> None:
        failure: BaseException | None = None
        try:
            self._serve(channel)
        except BaseException as error:  # for the owner, who learns of it at the next drain
            failure = error
        with self._changed:
            self._failure, self._channel = failure, None
            self._changed.notify_all()
        channel.close()

    def _serve(self, channel: LearnerChannel) -> None:
        heartbeat_due_s = time.monotonic()
        closing = False
        while not closing:
            channel.wait(0.0 if self._pieces.waiting else heartbeat_due_s - time.monotonic())
            closing = self._closing
            self._receive(channel)
            self._send_pieces(channel)
            now_s = time.monotonic()
            heartbeat = now_s >= heartbeat_due_s
            if heartbeat:
                channel.refresh_allowed()
                heartbeat_due_s = now_s + self._wire.heartbeat_s
            self._tell(channel, now_s, heartbeat=heartbeat)

    def _receive(self, channel: LearnerChannel) -> None:
        arrivals = channel.receive(_ROUND)
        if not arrivals:
            return
        answers: Answers = []
        with self._changed:
            had_news = self._has_news()
            for identity, address, frames in arrivals:
                answers += self._admission.receive(frames, identity, address, time.monotonic())
            if not had_news and self._has_news():
                self._changed.notify_all()
        for identity, message in answers:
            channel.send(identity, encode(message, self._limits))

    def _send_pieces(self, channel: LearnerChannel) -> None:
        topics = channel.receive_subscriptions(_SUBSCRIPTIONS_A_ROUND)
        if not topics and not self._pieces.waiting:
            return
        with self._changed:
            for topic in topics:
                self._pieces.ask(topic)
            pieces = self._pieces.take(_PIECES_A_ROUND)
        for topic, piece in pieces:
            channel.publish([topic, piece])

    def _tell(self, channel: LearnerChannel, now_s: float, *, heartbeat: bool) -> None:
        """Send what is new and what is owed; at a heartbeat, to everybody alive."""
        with self._changed:
            weights = self._admission.publications.weights if self._weights_are_new else None
            answers = self._admission.due(now_s, heartbeat=heartbeat, progress=self._progress_is_new)
            self._weights_are_new = self._progress_is_new = False
        # Weights first: who hears of a version can have it.
        if weights is not None:
            channel.publish(encode(weights, self._limits))
        for identity, message in answers:
            channel.send(identity, encode(message, self._limits))


def _require_room(run: dict[str, Any] | None, limits: Limits) -> None:
    """Find out at the start: the intake's thread must not fail when a client asks."""
    answer = Welcome(session=2**63 - 1, next_sequence=0, durable_sequence=0, credit_rows=0, run=run)
    try:
        encode(answer, limits)
    except (ProtocolError, OverflowError) as error:
        raise IntakeError(
            f"clients cannot be told task, base and algo in one header: {error} (wire.max_header_bytes)"
        ) from error
