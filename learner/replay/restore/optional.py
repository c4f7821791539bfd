"""The optional columns of a ring's decisions, read back from the dataset."""

from operator import attrgetter
from pathlib import Path

import numpy as np

from learner.replay.dataset.arrow import Array, column, flattened, matrix, read_parquet
from learner.replay.dataset.format.layout import DATA_PATH, SIDECAR_PATH, file_name
from learner.replay.dataset.format.spec import DatasetSpec, optional_feature
from protocol.arrays import DTYPES, Columns
from protocol.experience import Per, columns_of


def read_optional(folder: Path, number: int, spec: DatasetSpec) -> tuple[Array, Columns]:
    """Positions and values of all decisions of one shard; zeros for frames that were not executed."""
    frames = read_parquet(folder / file_name(DATA_PATH, number))
    sidecar = read_parquet(folder / file_name(SIDECAR_PATH, number))
    start = column(frames, "decision_start")
    first, decision = np.flatnonzero(start), np.cumsum(start) - 1
    frame = np.arange(len(frames)) - first[decision]
    sizes = {"D": len(first), "k": spec.residual_every or 0, "O": spec.observation_dim, "A": spec.action_dim}
    columns: Columns = {}
    for definition in filter(attrgetter("optional"), columns_of(spec)):
        values = np.zeros(definition.shape(sizes), DTYPES[definition.dtype])
        cells = matrix(frames, optional_feature(definition.name))
        if definition.per is Per.ROW:
            values[:] = cells[first].reshape(values.shape)
        else:
            values[decision, frame] = cells.reshape(-1, *values.shape[2:])
        columns[definition.name] = values
    return flattened(sidecar, "positions"), columns
