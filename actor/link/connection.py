"""One session with the learner over sockets: sends what is due and takes in what arrived."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from actor.link.patience import Silence, WaitLog
from actor.link.spool import Spool
from config.process import FailedError, UsageError
from config.wire import WireConfig
from protocol.arrays import Limits, ProtocolError
from protocol.channel.addresses import ChannelError
from protocol.channel.client import ClientChannel
from protocol.channel.keys import KeyFileError
from protocol.channel.sockets import Endpoint
from protocol.codec import VersionError, decode_from_learner, encode
from protocol.messages import Evaluation, Experience, FromClient, Hello, Weights
from protocol.session.client import ClientSession

log = logging.getLogger(__name__)

# How soon a wait notices `stop` and a learner that came back.
_STEP_S = 0.1


class UplinkError(FailedError):
    """This process cannot work for that learner; one line that says why and what to do."""


class UnusableLinkError(UplinkError, UsageError):
    """An address or keys that cannot be used: nothing was tried."""


class RefusedError(UplinkError):
    """The learner refused the session."""


class Connection:
    """Belongs to one thread, which calls `exchange` at least every second or so.

    Args:
        wire: where the learner is; opens sockets at once, but says nothing yet.
        hello: of the session.
        spool: keeps on disk what is sent and not yet durable; None: it is lost with this process.
        left_over: messages of an earlier process of the same session, in order.

    Raises:
        UplinkError: an address or keys that cannot be used, or no protection beyond loopback.
    """

    def __init__(
        self,
        wire: WireConfig,
        hello: Hello,
        spool: Spool | None,
        left_over: Sequence[Experience | Evaluation] = (),
    ) -> None:
        self.where = wire.address
        self._limits = msgspec.convert(wire, Limits, from_attributes=True)
        self._spool = spool
        self._silence = Silence(wire, self.where)
        self._learner = f"a learner{' that knows this key' if wire.keys_dir else ''} at {self.where}"
        self.session = ClientSession(
            hello, heartbeat_s=wire.heartbeat_s, now_s=time.monotonic(), left_over=left_over
        )
        self.offered: Weights | None = None
        """The newest weights that came over the experience port; for the caller to take."""
        endpoint = msgspec.convert(wire, Endpoint, from_attributes=True)
        try:
            self._channel = ClientChannel(endpoint, self._limits, hello.actor_id)
        except (ChannelError, KeyFileError) as error:
            raise UnusableLinkError(str(error)) from error

    @property
    def run_is_over(self) -> bool:
        """The learner needs no more experience."""
        progress = self.session.progress
        return progress is not None and (progress.evaluate or progress.finished)

    def exchange(self) -> None:
        """Receive what arrived and send what is due, without waiting.
        Raises UplinkError: refused, or the learner was away for wire.connect_timeout_s."""
        while (frames := self._channel.receive()) is not None:
            self._receive(frames)
        if self._spool is not None:
            self._spool.forget_below(self.session.durable)
        now_s = time.monotonic()
        for message in self.session.due(now_s):
            self.send(message)
        if not self._silence.is_bearable(self.session.silent_s(now_s)):
            raise UplinkError(
                f"no learner answers at {self.where} for {self.session.silent_s(now_s):.0f} s: start it, "
                "or correct wire.host, wire.experience_port or wire.keys_dir"
            )

    def wait_until(self, fact: Callable[[], bool], stop: threading.Event) -> bool:
        """Exchange until `fact` or `stop`, and log what it waits for. Returns whether the fact holds."""
        waiting = WaitLog(self._describe_wait)
        while True:
            self.exchange()
            if fact() or stop.is_set():
                return fact()
            waiting.say()
            self._channel.wait(_STEP_S)

    def wait(self, timeout_s: float, *, published: bool = False) -> None:
        """Wait until something arrives, at most `timeout_s`; `exchange` receives it.
        `published`: or weights, which `receive_published` receives."""
        self._channel.wait(timeout_s, published=published)

    def flush(self, timeout_s: float) -> bool:
        """Exchange until everything is on the learner's disk; False after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.exchange()
            left_s = deadline_s - time.monotonic()
            if self.session.undurable == 0 or left_s <= 0:
                return self.session.undurable == 0
            self._channel.wait(min(_STEP_S, left_s))

    def send(self, message: FromClient) -> None:
        frames = encode(message, self._limits)
        if self._spool is not None and isinstance(message, Experience | Evaluation):
            # On disk before it is sent: what was sent once will be sent until it is durable.
            self._spool.keep(message.sequence, frames)
        try:
            self._channel.send(frames)
        except ChannelError as error:
            raise UplinkError(f"the learner at {self.where}: {error}") from error

    def receive_published(self) -> tuple[Weights | None, list[list[bytes]]]:
        """Since the last call: the newest publication of weights, or None; and pieces with their topics."""
        frames, pieces = self._channel.receive_published()
        return self._decoded(frames), pieces

    def subscribe(self, topics: list[bytes], dropped: list[bytes]) -> None:
        """Ask for the pieces with these topics, and no more for those that were `dropped`."""
        self._channel.subscribe(topics, dropped)

    def _decoded(self, frames: list[bytes] | None) -> Weights | None:
        if frames is None:
            return None
        try:
            message = decode_from_learner(frames, self._limits)
        except ProtocolError as error:
            log.warning("ignored a publication of the learner at %s: %s", self.where, error)
            return None
        return message if isinstance(message, Weights) else None

    def close(self) -> None:
        """Close the sockets; call once."""
        self._channel.close()

    def _receive(self, frames: list[bytes]) -> None:
        try:
            message = decode_from_learner(frames, self._limits)
            self.session.receive(message, time.monotonic())
        except VersionError as error:
            raise UplinkError(f"the learner at {self.where}: {error}: install the same release") from error
        except ProtocolError as error:
            log.warning("ignored a message of the learner at %s: %s", self.where, error)
            return
        if isinstance(message, Weights):
            self.offered = message
        if self.session.refused is not None:
            raise RefusedError(f"the learner at {self.where} refused: {self.session.refused}")

    def _describe_wait(self) -> str:
        if not self.session.connected:
            return f"waiting for {self._learner}"
        return (
            f"waiting for credit: {self.session.rows_in_flight} rows in flight, "
            f"{self.session.undurable} messages not yet on the learner's disk"
        )
