"""The columns of a LeRobot dataset's data file as arrays, whatever it keeps them in."""

# pyarrow's stubs leave type arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from learner.replay.dataset.arrow import Array, one_piece, read_parquet
from learner.replay.prior.error import DemonstrationError


def read_columns(view: Path, name: str, columns: Sequence[str], source: str) -> pa.Table:
    """Those of `columns` that the file `name` of a dataset has. Raises DemonstrationError: it is damaged."""
    try:
        return read_parquet(view / name, list(dict.fromkeys(columns)))
    # A ValueError: names of columns that are no text.
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DemonstrationError(f"{source}: {name} cannot be read: {error}") from error


def numbers(table: pa.Table, name: str, source: str) -> Array:
    """(N, width) of a column of numbers, or of lists of them, or of lists of lists (shape [6, 7] and so on).
    Raises DemonstrationError: no such column, or one with words, empty cells, or lists of different lengths.
    """
    if name not in table.column_names:
        raise DemonstrationError(f"{source}: a data file has no column {name}, which info.json lists")
    cells = _without_extension(one_piece(table, name))
    while _is_list(cells.type):
        lengths = pc.unique(pc.list_value_length(cells)).to_pylist()
        if len(lengths) > 1 or cells.null_count:
            raise DemonstrationError(f"{source}: feature {name} has lists of different lengths: {lengths}")
        cells = _without_extension(cells.flatten())
    if cells.null_count:
        raise DemonstrationError(f"{source}: feature {name} has {cells.null_count} empty cells")
    kind = cells.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DemonstrationError(f"{source}: feature {name} has values of type {kind}, not numbers")
    values: Array = cells.to_numpy(zero_copy_only=False)
    return values.reshape(len(table), len(values) // max(1, len(table)))


def float32(values: Array) -> Array:
    """Values beyond a float32 become infinite, and are refused as that."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _without_extension(cells: Any) -> Any:
    # That of `datasets` for arrays of two and more dimensions.
    return cells.storage if isinstance(cells, pa.ExtensionArray) else cells
