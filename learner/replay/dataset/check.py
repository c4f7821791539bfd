"""Whether columns of experience fit a dataset."""

import numpy as np

from learner.replay.dataset.format.spec import DatasetSpec
from protocol.arrays import Columns
from protocol.experience import columns_of


def check_columns(columns: Columns, spec: DatasetSpec, residual_every: int) -> None:
    """Names, shapes and ends of episodes; the intake has checked the values.
    Raises ValueError: says what does not fit."""
    wanted = columns_of(spec)
    if missing := {column.name for column in wanted} - columns.keys():
        raise ValueError(f"columns lack {', '.join(sorted(missing))}")
    sizes = {
        "D": len(columns["frames"]),
        "F": len(columns["final_row"]),
        "k": residual_every,
        "O": spec.observation_dim,
        "A": spec.action_dim,
        "E": spec.features_dim,
    }
    for column in wanted:
        shape, found = column.shape(sizes), columns[column.name].shape
        if found != shape:
            raise ValueError(f"{column.name} must have shape {shape}, got {found}")
    if not np.array_equal(np.flatnonzero(columns["terminated"] | columns["truncated"]), columns["final_row"]):
        raise ValueError("final_row must name the rows that are terminated or truncated, in order")
