"""ndarray <-> description and buffer. Only allowed dtypes within the limits become arrays."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import msgspec
import numpy as np

from protocol.messages import Columns

# Little-endian plain numbers. Never objects: unpickling them would run the sender's code.
DTYPES = {name: np.dtype(f"<{name}") for name in ("f4", "f8", "i4", "i8", "u1", "b1")}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

# Of arrays that share a frame: that of the largest number.
ALIGNMENT = 8

Buffer = bytes | memoryview


class ProtocolError(ValueError):
    """What arrived, or is to be sent, breaks the protocol; one line that says what and where."""

    fault = "malformed"
    """Class of fault, for counters."""


class LimitError(ProtocolError):
    """More than the limits allow; found before anything is allocated."""

    fault = "over_limit"


class ArrayError(ProtocolError):
    """An array that is described wrongly, or not in its frame."""

    fault = "bad_array"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a message may measure at most; named like the keys of the wire's configuration."""

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


def describe(array: np.ndarray) -> tuple[str, memoryview]:
    """Name of the dtype, and the bytes of `array` in C order; a contiguous array is not copied.

    Raises:
        ProtocolError: a dtype that does not cross the wire.
    """
    name = _NAMES.get(array.dtype)
    if name is None:
        raise ProtocolError(f"dtype {array.dtype} does not cross the wire: use one of {', '.join(DTYPES)}")
    # A view of bytes: memoryview.cast refuses empty shapes.
    plain = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return name, plain.data


class Layout(NamedTuple):
    """An array that may exist: its description, checked."""

    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    """Bytes."""


def check_description(description: ArrayDescription, limits: Limits) -> Layout:
    """What `description` says, if it is within the limits.

    Raises:
        ProtocolError: unknown dtype, too many dimensions, or no possible shape.
    """
    dtype = DTYPES.get(description.dtype)
    if dtype is None:
        raise ArrayError(f"dtype {description.dtype!r} is none of {', '.join(DTYPES)}")
    shape = description.shape
    if len(shape) > limits.max_rank:
        raise LimitError(f"{len(shape)} dimensions, at most {limits.max_rank} are allowed")
    # numpy refuses larger sizes in its own ways, even beside a zero.
    if not all(0 <= size < 2**31 for size in shape):
        raise ArrayError(f"no possible shape: {shape}")
    return Layout(dtype, shape, math.prod(shape) * dtype.itemsize)


def restore(layout: Layout, frame: Buffer, start: int = 0) -> np.ndarray:
    """A read-only array over the bytes of `frame` from `start` on, not copied.

    Raises:
        ProtocolError: the frame is too short, or a truth value is none.
    """
    dtype, shape, size = layout
    if start + size > len(frame):
        held = max(0, len(frame) - start)
        raise ArrayError(f"{dtype.str[1:]} {shape} needs {size} bytes, the frame holds {held}")
    if dtype.kind == "b" and bytes(frame[start : start + size]).translate(None, b"\0\1"):
        raise ArrayError("a truth value that is neither 0 nor 1")
    array = np.ndarray(shape, dtype, frame, start)
    if array.flags.writeable:
        array.flags.writeable = False
    return array


def weights_digest(columns: Columns) -> str:
    """SHA-256 in hex over, in name order, each name in UTF-8, a zero byte and the array's bytes."""
    digest = hashlib.sha256()
    for name in sorted(columns):
        digest.update(name.encode() + b"\0")
        digest.update(describe(columns[name])[1])
    return digest.hexdigest()
