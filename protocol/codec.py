"""Message <-> frames: a msgpack header, then the raw buffers of arrays. Pure.

The header is `[protocol version, message]`. In the message a `columns` field holds name -> description;
the arrays follow in the same order, each in a frame of its own or behind the one before it.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Union, cast, get_args

import msgspec
import numpy as np

from protocol.arrays import (
    ALIGNMENT,
    ArrayDescription,
    ArrayError,
    Buffer,
    LimitError,
    Limits,
    ProtocolError,
    bytes_of,
    check_description,
    dtype_name,
)
from protocol.messages import PROTOCOL_VERSION, Columns, Experience, FromClient, FromLearner, Message, Weights


class VersionError(ProtocolError):
    """The other side speaks another version of the protocol."""

    fault = "other_version"


class HeaderError(ProtocolError):
    """A header that is no message."""

    fault = "bad_header"


class FrameCountError(ProtocolError):
    """More or fewer frames than the header describes."""

    fault = "wrong_frames"


class _Envelope(NamedTuple):
    """The one part of a header that keeps its form in every version."""

    version: int
    message: msgspec.Raw


def _with_raw_columns(kind: type[Message]) -> type[msgspec.Struct]:
    """The same message with its columns still encoded: they are decoded separately."""
    fields = [
        (field.name, msgspec.Raw if field.type == Columns else field.type)
        for field in msgspec.structs.fields(kind)
    ]
    tag = kind.__struct_config__.tag
    return msgspec.defstruct(
        kind.__name__, fields, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=tag
    )


_WITH_ARRAYS: dict[type, type[Message]] = {_with_raw_columns(kind): kind for kind in (Experience, Weights)}
_RAW: dict[Any, Any] = {kind: raw for raw, kind in _WITH_ARRAYS.items()}


def _make_decoder(kinds: Any) -> msgspec.msgpack.Decoder[Any]:
    union: Any = Union[tuple(_RAW.get(kind, kind) for kind in get_args(kinds))]  # noqa: UP007
    return msgspec.msgpack.Decoder(union)


_envelope_decoder = msgspec.msgpack.Decoder(_Envelope)
_columns_decoder = msgspec.msgpack.Decoder(dict[str, ArrayDescription])
_client_decoder, _learner_decoder = _make_decoder(FromClient), _make_decoder(FromLearner)


# Version 2 has no arrays behind others, versions 3 and 6 another `Behaviour`, version 4 another `Welcome`,
# version 5 other `Weights`; journals and spools may contain their messages.
_READABLE = (2, 3, 4, 5, 6, PROTOCOL_VERSION)
# Size of a frame with several arrays, at most: joining them copies them.
_JOINED_BYTES = 1 << 17


class _Plan(NamedTuple):
    """How columns travel."""

    described: msgspec.Raw
    """As the header says it."""
    frames: list[list[str | bytes]]
    """What is in each frame: names of columns, and the gaps between them."""


def encode(message: Message, limits: Limits) -> list[Buffer]:
    """Frames of `message`; large arrays are not copied and must not change until they are sent.
    Raises ProtocolError: what the receiver with the same limits would reject."""
    kind, frames = _RAW.get(message.__class__), []
    if kind is not None:
        fields = msgspec.structs.asdict(message)
        columns: Columns = fields["columns"]
        plan = _plan(tuple([(name, each.dtype, each.shape) for name, each in columns.items()]), limits)
        fields["columns"] = plan.described
        message = kind(**fields)
        frames = [_join(parts, columns) for parts in plan.frames]
    header = msgspec.msgpack.encode((PROTOCOL_VERSION, message), enc_hook=_plain_number)
    encoded = [header, *frames]
    _check_size(encoded, limits)
    return encoded


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return cast("np.generic[Any]", value).item()
    raise ProtocolError(f"{type(value).__name__} does not cross the wire")


@functools.lru_cache(maxsize=64)
def _plan(columns: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], limits: Limits) -> _Plan:
    """For columns of these names, dtypes and shapes, which are the same in nearly every message."""
    described: dict[str, ArrayDescription] = {}
    frames: list[list[str | bytes]] = []
    end = _JOINED_BYTES + 1  # of the last frame; before the first, nothing may join
    for name, dtype, shape in columns:
        if len(shape) > limits.max_rank:
            raise ProtocolError(f"an array of {len(shape)} dimensions, max_rank is {limits.max_rank}")
        size, gap = math.prod(shape) * dtype.itemsize, -end % ALIGNMENT
        behind = end + gap + size <= _JOINED_BYTES
        described[name] = ArrayDescription(dtype_name(dtype), shape, behind)
        if behind:
            frames[-1] += [bytes(gap), name] if gap else [name]
            end += gap + size
        else:
            frames.append([name])
            end = size
    return _Plan(msgspec.Raw(msgspec.msgpack.encode(described)), frames)


def _join(parts: list[str | bytes], columns: Columns) -> Buffer:
    """One frame; an array that has one of its own is not copied."""
    [first, *others] = parts
    if not others:
        return bytes_of(columns[cast(str, first)])
    return b"".join(
        [np.ascontiguousarray(columns[each]).data if isinstance(each, str) else each for each in parts]
    )


def decode_from_client(frames: Sequence[Buffer], limits: Limits) -> FromClient:
    """The message of an actor or evaluator; its arrays are read-only views of the frames.

    Raises:
        VersionError: another protocol version.
        ProtocolError: anything else that is not a message within the limits.
    """
    return _decode(frames, limits, _client_decoder)


def decode_from_learner(frames: Sequence[Buffer], limits: Limits) -> FromLearner:
    """The message of a learner; otherwise as `decode_from_client`."""
    return _decode(frames, limits, _learner_decoder)


def _decode(frames: Sequence[Buffer], limits: Limits, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    _check_size(frames, limits)
    try:
        version, raw = _envelope_decoder.decode(frames[0])
        if version not in _READABLE:
            raise VersionError(f"protocol version {version}, this side speaks {PROTOCOL_VERSION}")
        message = decoder.decode(raw)
        kind = _WITH_ARRAYS.get(message.__class__)
        if kind is not None:
            fields = msgspec.structs.asdict(message)
            fields["columns"] = _restore(bytes(fields["columns"]), frames, limits)
            return kind(**fields)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        # The error quotes what came: line ends in it must not forge lines of a log.
        raise HeaderError(f"header: {' '.join(str(error).split())}") from error
    if len(frames) > 1:
        raise FrameCountError(f"{len(frames) - 1} more frames than the header describes")
    return message


class _Place(NamedTuple):
    """Where a column is in the frames of its message."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    frame: int
    start: int
    """First byte in it."""
    end: int


class _Places(NamedTuple):
    """Where the columns of a message are."""

    columns: dict[str, _Place]
    booleans: list[str]
    """Those with dtype b1."""
    frame_sizes: list[int]
    """Behind the header."""


def _restore(described: bytes, frames: Sequence[Buffer], limits: Limits) -> Columns:
    """The columns of a message: read-only arrays over its frames, not copied."""
    places = _read_places(described, limits)
    if [len(frame) for frame in frames[1:]] != places.frame_sizes:
        raise _misfit(places, frames)
    for name in places.booleans:
        _, _, frame, start, end = places.columns[name]
        if bytes(frames[frame][start:end]).translate(None, b"\0\1"):
            raise _placed(ArrayError("a truth value that is neither 0 nor 1"), name)
    views = [memoryview(frame).toreadonly() for frame in frames]
    return {
        name: np.ndarray(shape, dtype, views[frame], start)
        for name, (dtype, shape, frame, start, _) in places.columns.items()
    }


def _misfit(places: _Places, frames: Sequence[Buffer]) -> ProtocolError:
    """What is wrong with the number or the sizes of frames."""
    more = len(frames) - 1 - len(places.frame_sizes)
    if more > 0:
        return FrameCountError(f"{more} more frames than the header describes")
    for name, (dtype, shape, frame, start, end) in places.columns.items():
        if frame >= len(frames):
            return FrameCountError(f"no frame for {name!r}")
        if end > len(frames[frame]):
            there = max(0, len(frames[frame]) - start)
            what = f"{dtype.str[1:]} {shape} needs {end - start} bytes, the frame has {there}"
            return _placed(ArrayError(what), name)
    number, size = next(
        (number, size) for number, size in enumerate(places.frame_sizes, 1) if len(frames[number]) != size
    )
    return ArrayError(f"its arrays need {size} bytes, frame {number} has {len(frames[number])}")


@functools.lru_cache(maxsize=64)
def _read_places(described: bytes, limits: Limits) -> _Places:
    """Columns as a header describes them; nearly every message has the same description."""
    columns: dict[str, _Place] = {}
    sizes: list[int] = []
    for name, description in _columns_decoder.decode(described).items():
        try:
            dtype, shape, size = check_description(description, limits)
        except ProtocolError as error:
            raise _placed(error, name) from error
        start = 0
        if description.behind and sizes:
            start = sizes[-1] + -sizes[-1] % ALIGNMENT
            sizes[-1] = start + size
        else:
            sizes.append(size)
        columns[name] = _Place(dtype, shape, len(sizes), start, start + size)
    if len(columns) > limits.max_arrays:
        raise LimitError(f"{len(columns)} arrays, at most {limits.max_arrays} are allowed")
    return _Places(columns, [name for name, place in columns.items() if place.dtype.kind == "b"], sizes)


def _placed(error: ProtocolError, name: str) -> ProtocolError:
    return type(error)(f"header: {error} - at {name!r}")


def _check_size(frames: Sequence[Buffer], limits: Limits) -> None:
    if not frames:
        raise FrameCountError("no header frame")
    total = sum(len(frame) for frame in frames)
    for what, size, largest in (
        ("header bytes", len(frames[0]), limits.max_header_bytes),
        ("arrays", len(frames) - 1, limits.max_arrays),
        ("bytes", total, limits.max_message_bytes),
    ):
        if size > largest:
            raise LimitError(f"{size} {what}, at most {largest} are allowed")
