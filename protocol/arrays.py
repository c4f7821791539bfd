"""ndarray <-> description and buffer. Only allowed dtypes within the limits become arrays."""

import hashlib
import math
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

# Little-endian plain numbers. Never objects: unpickling them would run the sender's code.
DTYPES = {name: np.dtype(f"<{name}") for name in ("f2", "f4", "f8", "i4", "i8", "u1", "u2", "b1")}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

# Of arrays that share a frame: that of the largest dtype.
ALIGNMENT = 8

Buffer = bytes | memoryview

Columns = dict[str, NDArray[Any]]
"""Name -> array. Travels behind the header of a message, never in it."""


class ProtocolError(ValueError):
    """A message that breaks the protocol; one line that says what is wrong and where."""

    fault = "malformed"
    """Class of fault, for counters."""


class LimitError(ProtocolError):
    """More than the limits allow; raised before anything is allocated."""

    fault = "over_limit"


class ArrayError(ProtocolError):
    """An array that is described wrongly, or not in its frame."""

    fault = "bad_array"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The largest message that is accepted; named like the keys of the wire's configuration."""

    max_header_bytes: int
    max_arrays: int
    max_rank: int
    max_message_bytes: int


class ArrayDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the header says about one array."""

    dtype: str
    """A key of DTYPES."""
    shape: tuple[int, ...]
    behind: bool = False
    """In the frame of the array before it, at the next multiple of ALIGNMENT; else in the next frame."""


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The key of DTYPES. Raises ProtocolError: a dtype that does not cross the wire."""
    name = _NAMES.get(dtype)
    if name is None:
        raise ProtocolError(f"dtype {dtype} does not cross the wire: use one of {', '.join(DTYPES)}")
    return name


def bytes_of(array: NDArray[Any]) -> memoryview:
    """The bytes of `array` in C order; a contiguous array is not copied."""
    # A view of bytes: memoryview.cast refuses empty shapes.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class Layout(NamedTuple):
    """An array that may exist: its description, checked."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int
    """Bytes."""


def check_description(description: ArrayDescription, limits: Limits) -> Layout:
    """What `description` says, if it is within the limits.
    Raises ProtocolError: unknown dtype, too many dimensions, or no possible shape."""
    dtype = DTYPES.get(description.dtype)
    if dtype is None:
        raise ArrayError(f"dtype {description.dtype!r} is none of {', '.join(DTYPES)}")
    shape = description.shape
    if len(shape) > limits.max_rank:
        raise LimitError(f"{len(shape)} dimensions, at most {limits.max_rank} are allowed")
    # numpy refuses more in its own ways, even beside a zero.
    largest = math.prod(max(1, size) for size in shape) * dtype.itemsize
    if min(shape, default=0) < 0 or largest >= 2**63:
        raise ArrayError(f"no possible shape: {shape}")
    return Layout(dtype, shape, math.prod(shape) * dtype.itemsize)


def weights_digest(columns: Columns) -> str:
    """SHA-256 in hex over, in name order, each name in UTF-8, a zero byte and the array's bytes."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        digest.update(name.encode() + b"\0")
        digest.update(bytes_of(columns[name]))
    return digest.hexdigest()
