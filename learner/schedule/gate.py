"""The share of episodes that the residual may play, raised as it earns them."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from config.algo import AlgoConfig
from protocol.messages import Columns

# The base's success is that of so many of its newest episodes.
BASE_WINDOW = 200


class SuccessGate:
    """Compares episodes that the base played alone with those in which a residual acted.

    After every `gate_episodes` of the residual's, the share doubles if they succeeded as often as the
    base's, less `gate_margin`, and halves if not; it stays within [gate_share, 1]. So does the confidence,
    within [confidence_least, 1]. An episode counts as the base's where every residual was zero.
    """

    def __init__(self, algo: AlgoConfig) -> None:
        self._algo = algo
        self._acted: dict[tuple[str, int], bool] = {}
        self._base: deque[bool] = deque(maxlen=BASE_WINDOW)
        self._residual: list[bool] = []
        self.share = algo.gate_share
        self.confidence = algo.confidence_from
        """How far exploration and the actor may go, (0, 1]."""

    @property
    def base_success(self) -> float:
        """NaN before the base's first episode."""
        return float(np.mean(self._base)) if self._base else float("nan")

    def state(self) -> dict[str, Any]:
        """For `load_state` of another process."""
        return {
            "share": self.share,
            "confidence": self.confidence,
            "base": list(self._base),
            "residual": list(self._residual),
            "acted": [[*key, acted] for key, acted in self._acted.items()],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.share, self._residual = state["share"], list(state["residual"])
        self.confidence = state.get("confidence", self._algo.confidence_from)  # runs before it was kept
        self._base = deque(state["base"], maxlen=BASE_WINDOW)
        self._acted = {(actor_id, sub_env): acted for actor_id, sub_env, acted in state["acted"]}

    def count(self, actor_id: str, columns: Columns) -> None:
        """Take in one message of experience; nothing where something else opens the mask."""
        if self._algo.mask_by != "success":
            return
        acts = columns["residual"].reshape(len(columns["frames"]), -1).any(1)
        ended = columns["terminated"] | columns["truncated"]
        for row, sub_env in enumerate(columns["sub_env"].tolist()):
            key = (actor_id, sub_env)
            # Episodes are told apart by their first decision: an actor may have left in the middle of one.
            before = columns["decision"][row] > 0 and self._acted.get(key, False)
            self._acted[key] = before or bool(acts[row])
            if ended[row]:
                success = bool(columns["success"][row, columns["frames"][row] - 1])
                (self._residual if self._acted[key] else self._base).append(success)
        self._judge()

    def _judge(self) -> None:
        enough = self._algo.gate_episodes
        if len(self._residual) < enough or len(self._base) < enough:
            return
        reached = float(np.mean(self._residual)) >= self.base_success - self._algo.gate_margin
        self.share = _moved(self.share, reached, self._algo.gate_share)
        self.confidence = _moved(self.confidence, reached, self._algo.confidence_least)
        self._residual.clear()


def _moved(share: float, up: bool, least: float) -> float:
    return min(1.0, share * 2) if up else max(least, share / 2)
