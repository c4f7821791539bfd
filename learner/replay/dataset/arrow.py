"""Conversions between parquet files, Arrow's tables and numpy."""

# pyarrow's stubs leave type arguments open (ndarray, Array): the replay sees them in this file alone.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from learner.replay.dataset.content import why_no_content

type Array = NDArray[Any]
type Cells = pa.Array[Any]


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole file, in one piece however many row groups it has.
    Raises pa.ArrowException: broken, or with a column twice; OSError."""
    # Five times as fast as pyarrow.parquet.read_table where row groups are small.
    with pq.ParquetFile(path, memory_map=True) as file:
        if (twice := _name_used_twice(file.schema_arrow)) is not None:
            raise pa.ArrowInvalid(twice)
        try:
            return file.read(columns, use_threads=False).combine_chunks()
        except OSError as error:
            if error.errno is None:  # not the system's: what the file holds cannot be unpacked
                raise pa.ArrowInvalid(str(error)) from error
            raise


def column_names(path: Path) -> list[str]:
    return pq.read_schema(path).names


def row_count(path: Path) -> int:
    return pq.read_metadata(path).num_rows


def begins_empty(path: Path) -> bool:
    """Whether the first row group has no row."""
    metadata = pq.read_metadata(path)
    return metadata.num_row_groups > 0 and metadata.row_group(0).num_rows == 0


def write_parquet(table: pa.Table, path: Path) -> None:
    """A table in one piece; its numbers hardly repeat, and nobody searches it by bounds."""
    with path.open("wb") as file:
        pq.write_table(table, file, use_dictionary=False, write_statistics=False)


def why_unreadable(path: Path) -> str | None:
    """What is wrong with a parquet file, in words, or None; reads its footer alone."""
    try:
        return _name_used_twice(pq.read_schema(path))
    except (pa.ArrowException, OSError) as error:
        return why_no_content(path) or _why_no_footer(path) or f"broken: {str(error).splitlines()[0]}"


def _name_used_twice(schema: pa.Schema) -> str | None:
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    return f"has more than one column {twice[0]}" if twice else None


def _why_no_footer(path: Path) -> str | None:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        return None if file.read() == b"PAR1" else "no footer: it was not closed"


def make_table(columns: Mapping[str, Array | Cells]) -> pa.Table:
    return pa.Table.from_arrays([_cells(values) for values in columns.values()], list(columns))


def with_column(table: pa.Table, name: str, values: Array | Cells) -> pa.Table:
    """The table with one column replaced, or added."""
    at = table.schema.get_field_index(name)
    if at < 0:
        return table.append_column(name, _cells(values))
    return table.set_column(at, name, _cells(values))


def column(table: pa.Table, name: str) -> Array:
    """(N,) of a column of plain values."""
    return table[name].to_numpy()


def matrix(table: pa.Table, name: str) -> Array:
    """(N, width) of a column of lists of one size, of lists of lists, or of plain values."""
    numbers = _plain_cells(table, name).to_numpy(zero_copy_only=False)
    return numbers.reshape(len(table), len(numbers) // max(1, len(table)))


def floats(table: pa.Table, name: str) -> Array | None:
    """`matrix` of a column of floating-point numbers, None for any other."""
    return matrix(table, name) if pa.types.is_floating(_plain_cells(table, name).type) else None


def is_whole(table: pa.Table, name: str) -> bool:
    """Whether a column is of whole numbers."""
    return pa.types.is_integer(table.schema.field(name).type)


def null_count(table: pa.Table, name: str) -> int:
    """Empty cells, those in lists and structs too."""
    cells, count = one_piece(table, name), 0
    while (inner := _inner(cells)) is not None:
        count, cells = count + cells.null_count, inner
    return count + (cells.field("bytes") if isinstance(cells, pa.StructArray) else cells).null_count


def _plain_cells(table: pa.Table, name: str) -> Cells:
    """Those of a column, or of its lists end to end, however deep they are."""
    cells = one_piece(table, name)
    while (inner := _inner(cells)) is not None:
        cells = inner
    return cells


def _inner(cells: Cells) -> Cells | None:
    """What is in the lists of a column, one level down; None if it has no lists."""
    # What LeRobot calls Array2D is an extension type over lists of lists.
    if isinstance(cells, pa.ExtensionArray):
        return cells.storage
    return cells.flatten() if isinstance(cells, pa.ListArray | pa.FixedSizeListArray) else None


def values(table: pa.Table, name: str) -> list[Any]:
    """A column in Python's own types."""
    return table[name].to_pylist()


def one_piece(table: pa.Table, name: str) -> Cells:
    return table[name].combine_chunks()


def flattened(table: pa.Table, name: str) -> Array:
    """The numbers of a column of lists, end to end."""
    return _lists(table, name).flatten().to_numpy()


def list_ends(table: pa.Table, name: str) -> Array:
    """Where each list of a column ends in what `flattened` gives."""
    offsets: Array = _lists(table, name).offsets.to_numpy()
    return offsets[1:] - offsets[0]


def fixed_lists(values: Array) -> Cells:
    """(T,) or (T, 1) as plain values, (T, ...) as lists of fixed size: what LeRobot's schema says."""
    width = values[0].size
    return _cells(values.reshape(-1)) if width == 1 else lists_of(width, values)


def lists_of(width: int, values: Array) -> Cells:
    return pa.FixedSizeListArray.from_arrays(_cells(np.ascontiguousarray(values).reshape(-1)), width)


def lists(values: Array) -> Cells:
    """(E, width) as lists that could be of any size."""
    return ragged(values, np.full(len(values), values.shape[1]))


def ragged(flat: Array, lengths: Array | Sequence[int]) -> Cells:
    """Lists of these lengths, one after another in `flat`."""
    offsets = pa.array(np.cumsum(np.r_[0, lengths], dtype=np.int32))
    numbers = _cells(np.ascontiguousarray(flat).reshape(-1))
    return pa.ListArray.from_arrays(cast("pa.Int32Array", offsets), numbers)


def with_added(table: pa.Table, name: str, number: int) -> pa.Table:
    """The table with `number` added to all numbers of a column of lists."""
    ends = list_ends(table, name)
    return with_column(table, name, ragged(flattened(table, name) + number, np.diff(ends, prepend=0)))


def episode_lengths(frames: pa.Table) -> Array:
    """Frames of each episode in a table of whole episodes, one after the other."""
    index = column(frames, "episode_index")
    starts = np.flatnonzero(np.r_[True, index[1:] != index[:-1]])
    return np.diff(np.r_[starts, len(index)])


def _lists(table: pa.Table, name: str) -> "pa.ListArray[Any]":
    cells = one_piece(table, name)
    assert isinstance(cells, pa.ListArray)
    return cells


def cells_of(values: list[Any]) -> Cells:
    """A column of Python's own values, lists of lists too."""
    return pa.array(values)


def _cells(values: Array | Cells) -> Cells:
    return pa.array(values) if isinstance(values, np.ndarray) else values
