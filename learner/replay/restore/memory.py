"""The ring as the memory of a run."""

from pathlib import Path

from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from protocol.arrays import Columns


class RingMemory:
    """Keeps every row in the ring."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring

    def restore(self, folder: Path) -> None:
        restore_ring(folder, self.ring)

    def add(self, actor_id: str, session: int, columns: Columns, position: int) -> None:
        self.ring.add(actor_id, columns, position)

    def end_session(self, actor_id: str, session: int) -> None:
        """Its rows stay."""
