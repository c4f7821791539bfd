"""The pieces of trained bases that clients have asked for."""

from protocol.session.pieces import Blob, piece_asked

# Pieces that may be asked for and not sent; a client asks again for what is beyond.
_MOST_ASKED = 1024


class Pieces:
    """Has the newest content, and the one before it for clients that are still fetching that."""

    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}  # digest -> content, the newest last
        self._asked: dict[bytes, None] = {}  # topics in the order in which they were asked for

    @property
    def waiting(self) -> bool:
        """Whether there are pieces to send."""
        return bool(self._asked)

    def offer(self, blob: Blob) -> None:
        """From now on this is the newest content."""
        newest = list(self._blobs.values())[-1:]
        self._blobs = {each.digest: each for each in (*newest, blob)}

    def ask(self, topic: bytes) -> None:
        """A client has subscribed to `topic`, which may be anything."""
        if len(self._asked) < _MOST_ASKED and self._content_of(topic) is not None:
            self._asked[topic] = None

    def take(self, most: int) -> list[tuple[bytes, memoryview]]:
        """Topic and content of the pieces that were asked for first."""
        topics = list(self._asked)[:most]
        found: list[tuple[bytes, memoryview]] = []
        for topic in topics:
            del self._asked[topic]
            if (piece := self._content_of(topic)) is not None:
                found.append((topic, piece))
        return found

    def _content_of(self, topic: bytes) -> memoryview | None:
        """Of the piece with this topic; None: there is no such piece."""
        digest, number = piece_asked(topic) or ("", 0)
        blob = self._blobs.get(digest)
        return None if blob is None else blob.piece(number)
