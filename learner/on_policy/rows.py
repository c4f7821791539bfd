"""Decisions as tensors, one a row."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from protocol.arrays import Columns

Rows = dict[str, Tensor]
"""session, sub_env, episode, decision (B,); version (B,), of the weights that decided; observation (B, O);
base_plan, residual (B, k * A); log_prob, reward, terminated, ended (B,); final_observation (B, O), zeros
where the episode did not end."""


def rows_of(session: int, columns: Columns) -> Rows:
    """The decisions of one message. The reward of a decision is the sum of its frames'."""
    count = len(columns["frames"])
    final = np.zeros_like(columns["observation"][:, 0])
    final[columns["final_row"]] = columns["final_observation"]
    arrays = {
        "session": np.full(count, session),
        **{name: columns[name].astype(np.int64) for name in ("sub_env", "episode", "decision")},
        "version": columns["weights_version"],
        "observation": columns["observation"][:, 0],
        **{name: columns[name].reshape(count, -1) for name in ("base_plan", "residual")},
        "log_prob": columns["log_prob"],
        "reward": columns["reward"].sum(1),
        "terminated": columns["terminated"],
        "ended": columns["terminated"] | columns["truncated"],
        "final_observation": final,
    }
    # Copied: the columns are read-only views of a message.
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def joined(parts: Sequence[Rows]) -> Rows:
    """One after the other; there is at least one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def chosen(rows: Rows, which: Tensor) -> Rows:
    """Some rows, by a mask or by their numbers."""
    return {name: values[which] for name, values in rows.items()}


def in_order(rows: Rows) -> Rows:
    """One sub-environment after the other, each in the order of time, in which its rows arrived."""
    by_env = rows["sub_env"].argsort(stable=True)
    return chosen(rows, by_env[rows["session"][by_env].argsort(stable=True)])


def followed(rows: Rows) -> Tensor:
    """(B,) bool: the next row is the same episode's next decision. For rows that are `in_order`."""
    # Nothing follows an end, whatever an actor says.
    same = (rows["decision"][1:] == rows["decision"][:-1] + 1) & ~rows["ended"][:-1]
    for name in ("session", "sub_env", "episode"):
        same &= rows[name][1:] == rows[name][:-1]
    return torch.cat([same, torch.zeros(1, dtype=torch.bool)])
