"""Large content in pieces: which to ask for next, and when all is there. Knows no sockets and reads no clock.

A piece is asked for by subscribing to its topic, `base/<digest of all>/<number>`; the learner answers with
one message of that topic. Whatever is lost is asked for again. Since the digest of the content names its
pieces, those that have arrived stay good across lost connections and restarted learners.
"""

import hashlib
import math
import re
from typing import NamedTuple

from protocol.arrays import Buffer, ProtocolError
from protocol.messages import BaseAnnounced

PIECE_BYTES = 512 * 1024
"""Size of a piece."""
IN_FLIGHT = 3
"""Pieces that a client asks for at once: they, and no more, may be ahead of a residual's weights."""
_MOST_WAIT = 16
"""Times the patience of a client: up to that it grows, so that a slow connection is not asked for the same
again and again."""
_TRIES = 3
"""Until newer content is fetched instead."""

_PREFIX = b"base/"
_TOPIC = re.compile(rb"base/([0-9a-f]{64})/([0-9]{1,9})")


def topic_of(digest: str, piece: int) -> bytes:
    return _PREFIX + f"{digest}/{piece}".encode()


def piece_asked(topic: bytes) -> tuple[str, int] | None:
    """Digest and number of the piece with this topic; None: it is no topic of a piece."""
    found = _TOPIC.fullmatch(topic)
    return None if found is None else (found[1].decode(), int(found[2]))


class Blob:
    """Content to be sent in pieces."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self.digest = hashlib.sha256(content).hexdigest()

    def announced(self, version: int) -> BaseAnnounced:
        return BaseAnnounced(
            version=version, digest=self.digest, bytes=len(self._content), piece_bytes=PIECE_BYTES
        )

    def piece(self, number: int) -> memoryview | None:
        """Not copied; None: there is no such piece."""
        first = number * PIECE_BYTES
        return self._content[first : first + PIECE_BYTES] if first < len(self._content) else None


class Complete(NamedTuple):
    """Content that has arrived as it was sent."""

    base: BaseAnnounced
    content: bytearray


class PieceFetch:
    """Fetches the newest content that was announced.

    Once a fetch has begun it goes on, even if newer content is announced, as long as pieces arrive: so
    content that comes faster than the connection carries it does not keep a client from ever having one.

    Args:
        most_bytes: of the content; what is larger is refused.
        patience_s: without any piece, after which those that are missing are asked for again; it doubles each
            time, up to a limit.
    """

    def __init__(self, most_bytes: int, patience_s: float) -> None:
        self._most_bytes, self._patience_s, self._wait_s = most_bytes, patience_s, patience_s
        self._newest: BaseAnnounced | None = None
        self._taken = ""  # digest of what was handed out last
        self._wanted: BaseAnnounced | None = None
        self._content = bytearray()
        self._missing: list[int] = []
        self._asked: list[int] = []
        self._quiet_since_s = 0.0
        self._tries = 0  # in vain, since a piece came
        self._to_drop: list[bytes] = []

    def announce(self, base: BaseAnnounced) -> None:
        """The newest content is this; nothing is allocated before `due`.
        Raises ProtocolError: it is too large, or not in pieces of a size that may be asked for."""
        if not 0 < base.bytes <= self._most_bytes:
            raise ProtocolError(
                f"base v{base.version} has {base.bytes} bytes, at most {self._most_bytes} fit"
            )
        if base.piece_bytes != PIECE_BYTES or re.fullmatch("[0-9a-f]{64}", base.digest) is None:
            raise ProtocolError(f"base v{base.version} is announced in a way that cannot be used")
        if base.digest == self._taken:
            return
        self._newest = base
        if self._wanted is not None and self._wanted.digest == base.digest:
            self._wanted = base

    def due(self, now_s: float) -> tuple[list[bytes], list[bytes]]:
        """Topics to subscribe to now, and to unsubscribe from before that."""
        if self._asked and now_s - self._quiet_since_s > self._wait_s:
            self._forget(*self._asked)
            self._tries += 1
            self._wait_s = min(2 * self._wait_s, _MOST_WAIT * self._patience_s)
        if self._newest is not None and (self._wanted is None or self._tries >= _TRIES):
            self._begin(self._newest)
        asked = [piece for piece in self._missing if piece not in self._asked]
        asked = asked[: IN_FLIGHT - len(self._asked)]
        if asked:
            self._quiet_since_s = now_s
        self._asked += asked
        dropped, self._to_drop = self._to_drop, []
        digest = "" if self._wanted is None else self._wanted.digest
        return [topic_of(digest, piece) for piece in asked], dropped

    def receive(self, topic: bytes, data: Buffer, now_s: float) -> None:
        """One message; of other topics, and twice the same, do no harm."""
        asked = piece_asked(topic)
        wanted = self._wanted
        if asked is None or wanted is None or asked[0] != wanted.digest or asked[1] not in self._asked:
            return
        piece = asked[1]
        first = piece * PIECE_BYTES
        if len(data) != min(PIECE_BYTES, wanted.bytes - first):
            return  # it is asked for again
        self._content[first : first + len(data)] = data
        self._missing.remove(piece)
        self._forget(piece)
        self._quiet_since_s, self._tries = now_s, 0

    def take(self) -> Complete | None:
        """The content, once, when all of it is there.
        Raises ProtocolError: it is not what was announced; it is fetched again."""
        wanted = self._wanted
        if wanted is None or self._missing:
            return None
        content, self._content, self._wanted = self._content, bytearray(), None
        if hashlib.sha256(content).hexdigest() != wanted.digest:
            raise ProtocolError(f"base v{wanted.version}: the digest is wrong")
        self._taken, self._wait_s = wanted.digest, self._patience_s
        if self._newest is not None and self._newest.digest == wanted.digest:
            self._newest = None
        return Complete(wanted, content)

    def _begin(self, base: BaseAnnounced) -> None:
        """Fetch `base`; of what is being fetched already the pieces that are there stay."""
        self._tries = 0
        if self._wanted is not None and self._wanted.digest == base.digest:
            return
        self._forget(*self._asked)
        self._wanted = base
        self._content = bytearray(base.bytes)
        self._missing = [*range(math.ceil(base.bytes / PIECE_BYTES))]

    def _forget(self, *pieces: int) -> None:
        """Ask no more for `pieces`."""
        if self._wanted is not None:
            self._to_drop += [topic_of(self._wanted.digest, piece) for piece in pieces]
        self._asked = [piece for piece in self._asked if piece not in pieces]
