"""Invariants of a ring."""

import numpy as np

from learner.replay.memory.ring import Ring


def check_ring(ring: Ring) -> None:
    """Raise AssertionError if an invariant is broken."""
    rows, newest = ring.rows, ring.rows.position - 1
    slots = np.flatnonzero(rows.following != rows.unknown)
    assert len(slots) == 0 or slots.max() < len(rows), "a successor outside the written rows"
    after = rows.following[slots]
    age = (newest - slots) % rows.capacity
    assert np.all((newest - after) % rows.capacity < age), "a successor older than its row"
    assert len(np.unique(after)) == len(after), "two rows share a successor"
    assert not rows.terminated[-1] and rows.reward[-1] == 0, "the row that means none was changed"
