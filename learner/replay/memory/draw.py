"""Chooses the rows at which the transitions of a batch begin."""

import numpy as np

from learner.replay.memory.rows import Rows, Slots

# Random draws before all rows are looked at.
ATTEMPTS = 10


def draw_linked(rows: Rows, count: int, rng: np.random.Generator, among: Slots | None = None) -> Slots:
    """`count` slots, uniform over `among`, or over all with a successor; i8.

    By rejection: nearly always all but a few rows have a successor.

    Raises ValueError: no row has one."""
    if among is not None:
        return among[rng.integers(len(among), size=count)]
    if not len(rows):
        raise ValueError("the replay is empty")
    found = np.zeros(0, np.int64)
    for _ in range(ATTEMPTS):
        # An eighth more than are missing: a second draw is rare.
        drawn = rng.integers(len(rows), size=(count - len(found)) * 9 // 8 + 8)
        drawn = drawn[rows.following[drawn] != rows.unknown]
        found = np.concatenate([found, drawn]) if len(found) else drawn
        if len(found) >= count:
            return found[:count]
    # Few rows have one in a ring that was restored from a dataset whose oldest episodes were deleted.
    linked = rows.linked
    if not len(linked):
        raise ValueError(f"no transition among {len(rows)} rows: every decision waits for its successor")
    return linked[rng.integers(len(linked), size=count)]
