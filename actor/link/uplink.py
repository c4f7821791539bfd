"""The actor's line to the learner: sends, waits for credit, sends again what is not durable.

With a spool, what was sent outlives this process: the next one of the same name delivers it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from actor.link.spool import Spool, find_leftovers
from config.wire import WireConfig
from protocol.arrays import Buffer, Limits, ProtocolError, weights_digest
from protocol.channel.client import ClientChannel
from protocol.channel.keys import KeyFileError
from protocol.channel.sockets import ChannelError, Endpoint
from protocol.codec import VersionError, decode_from_learner, encode
from protocol.messages import (
    PROTOCOL_VERSION,
    Columns,
    Evaluation,
    Experience,
    ExperienceSpec,
    FromClient,
    Hello,
    Progress,
    Weights,
    WeightsRequest,
)
from protocol.session.client import ClientSession

log = logging.getLogger(__name__)

# How often it says what it waits for.
_SAY_EVERY_S = 5.0
# How soon a wait notices `stop` and a learner that came back.
_STEP_S = 0.1


class UplinkError(RuntimeError):
    """This process cannot work for that learner; one line that says why and what to do."""


class RefusedError(UplinkError):
    """The learner will not have this session."""


class Uplink:
    """One client's session. Belongs to one thread, which calls `pump` at least every second or so.

    Args:
        wire: where the learner is; opens sockets at once, but says nothing yet.
        actor_id: survives restarts; the newest process of a name wins.
        role: "actor" or "evaluator".
        spec: must equal the learner's.
        stop: when it is set, waits end early and leave undone what they waited for.
        spool: folder for what is sent and not yet durable. None: what a killed process takes with it is gone.
        left_over: an earlier process's session, to deliver what that one left, and nothing else.

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
        left_over: Spool | None = None,
    ) -> None:
        self._wire = wire
        self._stop = stop
        self._limits = msgspec.convert(wire, Limits, from_attributes=True)
        self._session_number = secrets.randbits(63) if left_over is None else left_over.session
        held = [] if left_over is None else left_over.load(self._limits)
        self._spool_folder, self._spool = spool, left_over
        if spool is not None:
            self._spool = Spool(spool, actor_id, self._session_number)
        self._spooled = held[-1].sequence + 1 if held else 0
        self._hello = hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            actor_id=actor_id,
            session=self._session_number,
            role=role,
            first_sequence=0,
            spec=spec,
        )
        self._session = ClientSession(hello, heartbeat_s=wire.heartbeat_s, now_s=time.monotonic(), held=held)
        self._offered: Weights | None = None  # came over the experience port, not looked at yet
        self._newest_version: int | None = None
        self._lagging_since_s: float | None = None
        self._said_absent = False
        endpoint = msgspec.convert(wire, Endpoint, from_attributes=True)
        try:
            self._channel = ClientChannel(endpoint, self._limits, actor_id)
        except (ChannelError, KeyFileError) as error:
            raise UplinkError(str(error)) from error

    def connect(self) -> None:
        """Until the learner's Welcome, or `stop`. What earlier processes of this name left in the spool is
        delivered first.

        Raises:
            UplinkError: refused, or no learner within wire.connect_timeout_s.
        """
        unwanted = self._deliver_leftovers()
        self._session.reopen(time.monotonic())
        if self._wait(lambda: self._session.connected, self._describe_wait):
            log.info("connected to the learner at %s", self._where)
            # It would have this process and not those rows, so it will not have them tomorrow either.
            for spool in unwanted:
                spool.discard()
        for spool in unwanted:
            spool.close()

    def send(self, columns: Columns) -> None:
        """Hand over one batch (see `Experience`); its arrays must not change afterwards.

        Waits without credit and while the learner is away. After `stop`, what could not go out at once
        is left to `flush`.

        Raises:
            UplinkError: refused, or the learner was away for wire.connect_timeout_s.
        """
        self._session.submit_experience(columns)
        self._wait(lambda: self._session.unsent == 0, self._describe_wait)

    def send_evaluation(
        self, *, policy: str, version: int, successes: list[bool], seeds: list[int], wall_s: float
    ) -> None:
        """Hand over one evaluation; `successes[i]` belongs to `seeds[i]`. Waits and raises as `send`."""
        self._session.submit_evaluation(
            policy=policy, version=version, successes=successes, seeds=seeds, wall_s=wall_s
        )
        self._wait(lambda: self._session.unsent == 0, self._describe_wait)

    def pump(self, figures: dict[str, float] | None = None) -> None:
        """Receive what came and send what is due, without waiting.

        Args:
            figures: for the next heartbeats, for people to look at.

        Raises:
            UplinkError: refused, or the learner was away for wire.connect_timeout_s.
        """
        if figures is not None:
            self._session.figures = {name: float(value) for name, value in figures.items()}
        while (frames := self._channel.receive()) is not None:
            self._receive(frames)
        if self._spool is not None:
            self._spool.forget_below(self._session.durable)
        now_s = time.monotonic()
        for message in self._session.due(now_s):
            self._send(message)
        self._watch(now_s)

    @property
    def progress(self) -> Progress | None:
        """The learner's newest word; None before the first."""
        return self._session.progress

    def newest_weights(self) -> Weights | None:
        """Weights newer than any returned before, or None. Arrays are read-only. Call after `pump`."""
        offers = [self._offered, self._published()]
        self._offered = None
        fresh = [weights for weights in offers if weights is not None and self._is_newer(weights.version)]
        for weights in sorted(fresh, key=lambda weights: weights.version, reverse=True):
            if weights_digest(weights.columns) == weights.digest:
                self._newest_version = weights.version
                return weights
            log.warning("ignored weights v%d from %s: the digest is wrong", weights.version, self._where)
        self._ask_for_weights(time.monotonic())
        return None

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is on the learner's disk; False after the timeout. Ignores `stop`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.pump()
            left_s = deadline_s - time.monotonic()
            if self._session.undurable == 0 or left_s <= 0:
                return self._session.undurable == 0
            self._channel.wait(min(_STEP_S, left_s))

    def hasten_heartbeat(self) -> None:
        """Let the next `pump` say its figures at once."""
        self._session.hasten_heartbeat()

    @property
    def durable(self) -> int:
        """How many messages of this session, experience and evaluations, are on the learner's disk."""
        return self._session.durable

    def close(self) -> None:
        """Close the sockets; call once. What is not durable stays in the spool, unless the run is over."""
        self._channel.close()
        if self._spool is not None:
            if self._run_is_over:
                self._spool.discard()
            self._spool.close()

    @property
    def _where(self) -> str:
        return f"{self._wire.host}:{self._wire.experience_port}"

    def _wait(self, done: Callable[[], bool], describe: Callable[[], str]) -> bool:
        """Pump until `done` or `stop`; say now and then what it waits for. Returns whether it is done."""
        started_s = said_s = time.monotonic()
        while True:
            self.pump()
            if done() or self._stop.is_set():
                return done()
            now_s = time.monotonic()
            if now_s - said_s >= _SAY_EVERY_S:
                said_s = now_s
                since = time.strftime("%H:%M:%S", time.localtime(time.time() - (now_s - started_s)))
                log.info("%s, since %s (%.0f s)", describe(), since, now_s - started_s)
            self._channel.wait(_STEP_S)

    def _deliver_leftovers(self) -> list[Spool]:
        """Send what earlier processes of this name left; returns the spools that the learner refused."""
        if self._spool_folder is None:
            return []
        left = find_leftovers(self._spool_folder, self._hello.actor_id)
        return [spool for spool in left if not self._deliver(spool)]

    def _deliver(self, left_over: Spool) -> bool:
        """Send what one earlier process left, in its session; False if the learner refuses that session."""
        hello = self._hello
        earlier = Uplink(
            self._wire,
            actor_id=hello.actor_id,
            role=hello.role,
            spec=hello.spec,
            stop=self._stop,
            left_over=left_over,
        )
        session = earlier._session
        log.info("an earlier %s left %d messages", hello.actor_id, session.undurable)
        try:
            earlier._wait(lambda: session.undurable == 0 or earlier._run_is_over, earlier._describe_wait)
        except RefusedError as error:
            log.warning("%d messages of an earlier %s are lost: %s", session.undurable, hello.actor_id, error)
            earlier._channel.close()
            return False
        earlier.close()
        return True

    @property
    def _run_is_over(self) -> bool:
        return self.progress is not None and (self.progress.evaluate or self.progress.finished)

    def _describe_wait(self) -> str:
        if self._session.connected:
            return (
                f"waiting for credit: {self._session.rows_in_flight} rows in flight, "
                f"{self._session.undurable} messages not yet on the learner's disk"
            )
        key = " that knows this key" if self._wire.keys_dir else ""
        return f"waiting for a learner{key} at {self._where}"

    def _send(self, message: FromClient) -> None:
        frames = encode(message, self._limits)
        if self._spool is not None and isinstance(message, Experience | Evaluation):
            self._keep(self._spool, message.sequence, frames)
        try:
            self._channel.send(frames)
        except ChannelError as error:
            raise UplinkError(f"the learner at {self._where}: {error}") from error

    def _keep(self, spool: Spool, sequence: int, frames: list[Buffer]) -> None:
        """On disk before it is said: what was said once will be said until it is durable."""
        if sequence == self._spooled:
            spool.keep(sequence, frames)
            self._spooled += 1

    def _receive(self, frames: list[bytes]) -> None:
        try:
            message = decode_from_learner(frames, self._limits)
            self._session.receive(message, time.monotonic())
        except VersionError as error:
            raise UplinkError(f"the learner at {self._where}: {error}: install the same release") from error
        except ProtocolError as error:
            log.warning("ignored a message of the learner at %s: %s", self._where, error)
            return
        if isinstance(message, Weights):
            self._offered = message
        if self._session.refused is not None:
            raise RefusedError(f"the learner at {self._where} refused: {self._session.refused}")

    def _watch(self, now_s: float) -> None:
        """Say that the learner went away or came back; give up on it after wire.connect_timeout_s."""
        silent_s = self._session.silent_s(now_s)
        if silent_s > self._wire.connect_timeout_s:
            raise UplinkError(
                f"no learner answers at {self._where} for {silent_s:.0f} s: start it, "
                "or correct wire.host, wire.experience_port or the keys"
            )
        absent = silent_s > self._wire.lease_s
        if absent and not self._said_absent:
            log.warning(
                "no word from the learner at %s for %.0f s: calling it for up to %.0f s",
                self._where,
                silent_s,
                self._wire.connect_timeout_s,
            )
        elif self._said_absent and not absent:
            log.info("the learner at %s answers", self._where)
        self._said_absent = absent

    def _published(self) -> Weights | None:
        frames = self._channel.receive_newest_weights()
        if frames is None:
            return None
        try:
            message = decode_from_learner(frames, self._limits)
        except ProtocolError as error:
            log.warning("ignored a publication of the learner at %s: %s", self._where, error)
            return None
        return message if isinstance(message, Weights) else None

    def _is_newer(self, version: int) -> bool:
        return self._newest_version is None or version > self._newest_version

    def _ask_for_weights(self, now_s: float) -> None:
        """Ask when there are none yet, or when the publication of newer ones seems lost."""
        progress = self._session.progress
        lagging = self._newest_version is None or (progress is not None and self._is_newer(progress.version))
        if not lagging or not self._session.connected:
            self._lagging_since_s = None
        elif self._lagging_since_s is None:
            self._lagging_since_s = now_s
        elif now_s - self._lagging_since_s > self._wire.heartbeat_s:
            self._lagging_since_s = now_s
            self._send(WeightsRequest(session=self._session_number))
