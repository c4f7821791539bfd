"""The share of episodes in which the residual acts: it rises while they succeed as often as the base's."""

from collections import deque
from typing import Any

import numpy as np

from config.algo import AlgoConfig
from protocol.messages import Columns

# Episodes of the base whose success counts, the newest ones.
BASE_WINDOW = 200
# Episodes of the residual between two decisions about the share, and of the base before the first.
EPISODES = 40


class SuccessGate:
    """Compares episodes that the base played alone with those in which a residual acted.

    After every `EPISODES` of the residual's, the share doubles if they succeeded as often as the
    base's, less `gate_margin`, and halves if not; it stays within [gate_share, 1]. An episode counts
    as the base's where every residual was zero, and as nobody's where somebody intervened.
    """

    def __init__(self, algo: AlgoConfig) -> None:
        self._algo = algo
        self._acted: dict[tuple[str, int], bool] = {}
        self._intervened: set[tuple[str, int]] = set()
        self._base: deque[bool] = deque(maxlen=BASE_WINDOW)
        self._residual: list[bool] = []
        self.share = algo.gate_share

    @property
    def base_success(self) -> float:
        """NaN before the base's first episode."""
        return float(np.mean(self._base)) if self._base else float("nan")

    def state(self) -> dict[str, Any]:
        """For `load_state` of another process."""
        return {
            "share": self.share,
            "base": list(self._base),
            "residual": list(self._residual),
            "acted": [[*key, acted] for key, acted in self._acted.items()],
            "intervened": sorted([*key] for key in self._intervened),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.share, self._residual = state["share"], list(state["residual"])
        self._base = deque(state["base"], maxlen=BASE_WINDOW)
        self._acted = {(actor_id, sub_env): acted for actor_id, sub_env, acted in state["acted"]}
        self._intervened = {(actor_id, sub_env) for actor_id, sub_env in state.get("intervened", [])}

    def count(self, actor_id: str, columns: Columns) -> None:
        """Count the episodes of one message, with `mask_by: success`."""
        if self._algo.mask_by != "success":
            return
        frames, success = columns["frames"], columns["success"]
        acts = np.any(columns["residual"].reshape(len(frames), -1), axis=1)
        ended = columns["terminated"] | columns["truncated"]
        by_hand = (
            np.any(columns["intervention"], axis=1) if "intervention" in columns else np.zeros_like(ended)
        )
        for row, sub_env in enumerate(columns["sub_env"].tolist()):
            key = (actor_id, sub_env)
            # An episode begins with decision 0: an actor may have left in the middle of the one before.
            before = bool(columns["decision"][row] > 0) and self._acted.get(key, False)
            self._acted[key] = before or bool(acts[row])
            if columns["decision"][row] == 0:
                self._intervened.discard(key)
            if by_hand[row]:
                self._intervened.add(key)
            if ended[row] and key not in self._intervened:
                outcomes = self._residual if self._acted[key] else self._base
                outcomes.append(bool(success[row, int(frames[row]) - 1]))
        self._judge()

    def _judge(self) -> None:
        if len(self._residual) < EPISODES or len(self._base) < EPISODES:
            return
        good = float(np.mean(self._residual)) >= self.base_success - self._algo.gate_margin
        self.share = min(1.0, self.share * 2) if good else max(self._algo.gate_share, self.share / 2)
        self._residual.clear()
