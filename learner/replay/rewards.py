"""What a frame is worth to the update, from what the simulator said."""

from __future__ import annotations

import numpy as np

from config.algo import AlgoConfig
from protocol.messages import Columns


def frame_cost(algo: AlgoConfig) -> float:
    """What every executed frame costs."""
    return 1.0 if algo.reward == "dense_minus_one" else 0.0


def rewarded(columns: Columns, algo: AlgoConfig) -> Columns:
    """The message with the recipe's rewards: for "dense_minus_one" every executed frame costs 1, so that
    a success, whose dense reward is 1, is worth 0 and everything before it less."""
    cost = frame_cost(algo)
    if not cost:
        return columns
    executed = np.arange(columns["reward"].shape[1]) < columns["frames"][:, None]
    return columns | {"reward": columns["reward"] - np.float32(cost) * executed}
