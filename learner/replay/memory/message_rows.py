"""The rows of one message, as a ring keeps them."""

from typing import NamedTuple

import numpy as np

from config.reach import Scale
from learner.replay.memory.executed import executed_in
from learner.replay.memory.rows import Flags, Floats, Slots
from protocol.messages import Columns


class MessageRows(NamedTuple):
    """Decisions in order, each final observation right behind the decision that it ends."""

    block: Floats
    """f4 (M, O + E + 2 k A): observation, the base's features, its plan, executed residual."""
    reward: Floats
    terminated: Flags
    decisions: Slots
    """Which rows are decisions."""
    last_decisions: Slots
    """Which rows are an episode's last decision ..."""
    finals: Slots
    """... and which its final observation."""


def rows_of(
    columns: Columns,
    observation_dim: int,
    features_dim: int,
    residual_dim: int,
    residual_scale: Scale | None,
) -> MessageRows:
    """Of a message (see `protocol.messages.Experience`)."""
    count, finals = len(columns["frames"]), columns["final_row"]
    total = count + len(finals)
    decisions = np.arange(count) + np.searchsorted(finals, np.arange(count))
    last = decisions[finals]
    ends = np.cumsum([observation_dim, features_dim, residual_dim, residual_dim])
    block = np.zeros((total, ends[-1]), np.float32)
    observation, features, base_plan, residual = np.split(block, ends[:-1], axis=1)
    observation[decisions] = columns["observation"][:, 0]
    base_plan[decisions] = columns["base_plan"].reshape(count, -1)
    residual[decisions] = executed_in(columns, residual_scale).reshape(count, -1)
    observation[last + 1] = columns["final_observation"]
    base_plan[last + 1] = columns["final_base_plan"].reshape(len(finals), residual_dim)
    if features_dim:
        features[decisions], features[last + 1] = columns["features"], columns["final_features"]
    reward, terminated = np.zeros(total, np.float32), np.zeros(total, bool)
    reward[decisions] = columns["reward"].sum(1)
    terminated[decisions] = columns["terminated"]
    return MessageRows(block, reward, terminated, decisions, last, last + 1)
