"""What an actor or evaluator calls: connect, send, receive weights and progress."""

import logging
import secrets
import threading
import time
from pathlib import Path

from actor.link.connection import Connection, RefusedError, UplinkError
from actor.link.incoming import IncomingWeights
from actor.link.incoming_base import IncomingBase
from actor.link.redelivery import deliver_leftovers
from actor.link.spool import Spool
from config.wire import WireConfig
from protocol.arrays import Columns
from protocol.experience import ExperienceSpec
from protocol.messages import PROTOCOL_VERSION, Hello, Progress, Weights

__all__ = ["RefusedError", "Uplink", "UplinkError"]

log = logging.getLogger(__name__)


class Uplink:
    """One client's session. Belongs to one thread, which calls `pump` at least every second or so.

    Args:
        wire: where the learner is; opens sockets at once, but says nothing yet.
        actor_id: survives restarts; the newest process of a name wins.
        role: "actor" or "evaluator".
        spec: must equal the learner's.
        stop: when it is set, waits end early and leave undone what they waited for.
        spool: folder for what is sent and not yet durable, which the next process of this name delivers.
            None: what a killed process had not delivered is lost.
        most_base_bytes: of a trained base that this process can take; 0: none.

    Raises:
        UplinkError: an address or keys that cannot be used, or no protection beyond loopback.
        SpoolError: a spool that cannot be used; so do `connect` and all that sends.
    """

    def __init__(
        self,
        wire: WireConfig,
        *,
        actor_id: str,
        role: str,
        spec: ExperienceSpec,
        stop: threading.Event,
        spool: Path | None = None,
        most_base_bytes: int = 0,
    ) -> None:
        self._wire, self._stop, self._spool_folder = wire, stop, spool
        self.session = secrets.randbits(63)
        """The number of this session."""
        self._hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            actor_id=actor_id,
            session=self.session,
            role=role,
            first_sequence=0,
            spec=spec,
        )
        self._spool = None if spool is None else Spool(spool, actor_id, self.session)
        self._connection = Connection(wire, self._hello, self._spool)
        self._base = IncomingBase(self._connection, most_base_bytes, wire.heartbeat_s)
        self._weights = IncomingWeights(self._connection, self._base, self.session, wire.heartbeat_s)

    def connect(self) -> None:
        """Deliver what earlier processes of this name left, then wait for the learner's Welcome, or `stop`.
        Raises UplinkError: refused, or no learner within wire.connect_timeout_s."""
        refused: list[Spool] = []
        if self._spool_folder is not None:
            refused = deliver_leftovers(self._wire, self._hello, self._spool_folder, self._stop)
        session = self._connection.session
        session.reopen(time.monotonic())
        if self._connection.wait_until(lambda: session.connected, self._stop):
            log.info("connected to the learner at %s", self._connection.where)
            # It accepts this process and refused those rows, so it will never want them.
            for spool in refused:
                spool.discard()
        for spool in refused:
            spool.close()

    def send(self, columns: Columns) -> None:
        """Hand over one batch of experience; its arrays must not change afterwards.

        Waits without credit and while the learner is away. After `stop`, what could not go out at once
        is left to `flush`.

        Raises UplinkError: refused, or the learner was away for wire.connect_timeout_s."""
        self._connection.session.submit_experience(columns)
        self._wait_until_sent()

    def send_evaluation(
        self,
        *,
        policy: str,
        version: int,
        successes: list[bool],
        seeds: list[int],
        wall_s: float,
        true_successes: list[bool] | None = None,
    ) -> None:
        """Hand over one evaluation; `successes[i]` belongs to `seeds[i]`. Waits and raises as `send`."""
        self._connection.session.submit_evaluation(
            policy=policy,
            version=version,
            successes=successes,
            seeds=seeds,
            wall_s=wall_s,
            true_successes=true_successes,
        )
        self._wait_until_sent()

    def pump(self, figures: dict[str, float] | None = None) -> None:
        """Receive what arrived and send what is due, without waiting.
        `figures`: for the next heartbeats, for people to look at.
        Raises UplinkError: refused, or the learner was away for wire.connect_timeout_s."""
        if figures is not None:
            self._connection.session.figures = {name: float(value) for name, value in figures.items()}
        self._connection.exchange()

    @property
    def progress(self) -> Progress | None:
        """The learner's newest progress; None before the first."""
        return self._connection.session.progress

    def newest_weights(self, *, with_base: bool = True) -> Weights | None:
        """Weights newer than any returned before, or None. Arrays are read-only. Call after `pump`.
        `with_base`: also those for a base that this process does not have yet, see `take_base`."""
        return self._weights.take_newest(time.monotonic(), with_base=with_base)

    def take_base(self) -> bytearray | None:
        """The content of the base of the weights that were returned last, if it is another than before."""
        return None if self._base.complete is None else self._base.take()

    def confirm_base(self) -> None:
        """The base that was taken last is in use; weights for one that is not are held back."""
        self._weights.confirm_base()

    def wait(self, timeout_s: float) -> None:
        """Return when something arrives, weights too, at most after `timeout_s`. Receives nothing."""
        self._connection.wait(timeout_s, published=True)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is on the learner's disk; False after the timeout. Ignores `stop`."""
        return self._connection.flush(timeout_s)

    def hasten_heartbeat(self) -> None:
        """Let the next `pump` send its figures at once."""
        self._connection.session.hasten_heartbeat()

    @property
    def durable(self) -> int:
        """How many messages of this session, experience and evaluations, are on the learner's disk."""
        return self._connection.session.durable

    def close(self) -> None:
        """Close the sockets; call once. What is not durable stays in the spool, unless the run is over."""
        self._connection.close()
        if self._spool is not None:
            if self._connection.run_is_over:
                self._spool.discard()
            self._spool.close()

    def _wait_until_sent(self) -> None:
        self._connection.wait_until(lambda: self._connection.session.unsent == 0, self._stop)
