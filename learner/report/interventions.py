"""How much somebody acts instead of the policy."""

from collections import deque

import numpy as np

from config.reach import Scale
from learner.replay.memory.executed import executed_in
from learner.replay.memory.rows import Flags
from protocol.arrays import Columns

# Frames that the shares are over, the newest ones.
WINDOW_FRAMES = 5000
# A residual that was rounded on the way is not a clipped one.
_ROUNDING = 1e-3


class InterventionCount:
    """Shares of frames, and which episodes are not the policy's alone.
    `residual_scale`: None: the policy has no residual."""

    def __init__(self, residual_scale: Scale | None) -> None:
        self._scale = residual_scale
        self._counts: deque[tuple[int, int, int]] = deque()
        self._touched: set[tuple[str, int]] = set()

    def count(self, actor_id: str, columns: Columns) -> list[int]:
        """Count a message; returns those of its final rows whose episodes somebody intervened in."""
        if "intervention" not in columns:
            return []
        intervened = columns["intervention"]
        beyond = np.abs(executed_in(columns, self._scale) - columns["residual"]).max(axis=2) > _ROUNDING
        frames = int(columns["frames"].sum())
        self._counts.append((frames, int(intervened.sum()), int((beyond & intervened).sum())))
        while sum(count[0] for count in self._counts) - self._counts[0][0] >= WINDOW_FRAMES:
            self._counts.popleft()
        return self._touched_ends(actor_id, columns, np.any(intervened, axis=1))

    def figures(self) -> dict[str, float]:
        """intervention_share: of frames; intervention_clipped_share: of these, those whose action no residual
        reproduces."""
        frames, intervened, clipped = np.sum([*self._counts, (0, 0, 0)], axis=0)
        return {
            "intervention_share": intervened / frames if frames else float("nan"),
            "intervention_clipped_share": clipped / intervened
            if intervened and self._scale
            else float("nan"),
        }

    def _touched_ends(self, actor_id: str, columns: Columns, intervened: Flags) -> list[int]:
        finals, found = set(columns["final_row"].tolist()), list[int]()
        places = zip(columns["sub_env"].tolist(), columns["decision"].tolist(), strict=True)
        for row, (sub_env, decision) in enumerate(places):
            key = (actor_id, sub_env)
            if decision == 0:
                self._touched.discard(key)
            if intervened[row]:
                self._touched.add(key)
            if row in finals and key in self._touched:
                found.append(row)
        return found
