"""A journal in use, and what it called durable."""

import threading
from collections.abc import Callable
from pathlib import Path

from config.learner import JournalConfig
from learner.replay.journal.disk import Disk
from learner.replay.journal.journal import Journal
from protocol.arrays import Limits
from protocol.codec import encode
from protocol.experience import ExperienceSpec
from protocol.messages import Experience
from protocol.session.peer import Peer
from tests.support.spec import SPEC

LIMITS = Limits(max_header_bytes=65536, max_arrays=64, max_rank=5, max_message_bytes=1 << 20)
SETTINGS = JournalConfig(
    sync_s=0.01, sync_bytes=1 << 20, segment_bytes=1 << 30, spare_segments=2, pending_bytes=1 << 20
)
TIMEOUT_S = 20.0


class Writer:
    """A journal in use, and what it called durable."""

    def __init__(
        self,
        folder: Path,
        settings: JournalConfig = SETTINGS,
        spec: ExperienceSpec = SPEC,
        disk: Disk | None = None,
    ) -> None:
        self.journal = Journal(folder, settings, spec, LIMITS, disk)
        self.replayed = list(self.journal.replay())
        self.folder = folder
        self.durable: dict[int, int] = {}
        self.told: Callable[[dict[int, int]], object] = lambda _: None
        """Called before anybody may rely on it."""
        self._changed = threading.Condition()
        self.journal.start(self._became_durable)

    def _became_durable(self, next_sequences: dict[int, int]) -> None:
        self.told(next_sequences)
        with self._changed:
            self.durable |= next_sequences
            self._changed.notify_all()

    def wait_for(self, fact: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(fact, TIMEOUT_S)

    def append(self, session: int, sequence: int, columns: dict | None, actor_id: str = "actor-0") -> None:
        peer = Peer(actor_id, "actor", session, "", b"", 0, 0.0)
        message = Experience(session=session, sequence=sequence, columns=columns or {})
        frames = [bytes(frame) for frame in encode(message, LIMITS)] if columns else []
        self.journal.append(peer, message, frames)


def numbers(replayed: list) -> list[float]:
    """The first observation number of each row."""
    return [float(x) for item in replayed for x in item.columns["observation"][:, 0, 0]]
