"""Message <-> frames: a msgpack header, then the raw buffers of arrays. Pure.

The header is `[protocol version, message]`. In the message a `columns` field holds name -> description;
the arrays follow in the same order, each in a frame of its own or behind the one before it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Union, cast, get_args

import msgspec
import numpy as np

from protocol.arrays import (
    ALIGNMENT,
    ArrayDescription,
    ArrayError,
    Buffer,
    Layout,
    LimitError,
    Limits,
    ProtocolError,
    check_description,
    describe,
    restore,
)
from protocol.messages import (
    PROTOCOL_VERSION,
    Columns,
    Experience,
    FromClient,
    FromLearner,
    Message,
    Weights,
)


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
    """The same message with its columns as they came: what they describe is read separately."""
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


# Version 2 knew no arrays behind others: journals and spools may hold its messages.
_READABLE = (2, PROTOCOL_VERSION)
# A frame that holds several arrays holds at most so much: joining them copies them.
_JOINED_BYTES = 1 << 17


class _Frames:
    """Frames of arrays, small ones side by side: each frame costs both ends and ZeroMQ its part."""

    def __init__(self) -> None:
        self._parts: list[list[Buffer]] = []
        self._size = _JOINED_BYTES + 1  # of the last frame; before the first, nothing may join

    def add(self, buffer: Buffer) -> bool:
        """Place the next array; returns whether it lies behind the one before it."""
        start = self._size + (gap := -self._size % ALIGNMENT)
        behind = start + len(buffer) <= _JOINED_BYTES
        if behind:
            self._parts[-1] += [bytes(gap), buffer] if gap else [buffer]
            self._size = start + len(buffer)
        else:
            self._parts.append([buffer])
            self._size = len(buffer)
        return behind

    def join(self) -> list[Buffer]:
        """The frames; an array that has one of its own is not copied."""
        return [parts[0] if len(parts) == 1 else b"".join(parts) for parts in self._parts]


def encode(message: Message, limits: Limits) -> list[Buffer]:
    """Frames of `message`; large arrays are not copied and must not change until they are sent.

    Raises:
        ProtocolError: what the receiver with the same limits would reject.
    """
    frames = _Frames()

    def describe_array(value: Any) -> Any:
        if isinstance(value, np.generic):
            return cast("np.generic[Any]", value).item()
        if not isinstance(value, np.ndarray):
            raise ProtocolError(f"{type(value).__name__} does not cross the wire")
        array = cast(np.ndarray, value)
        if array.ndim > limits.max_rank:
            raise ProtocolError(f"an array of {array.ndim} dimensions, max_rank is {limits.max_rank}")
        dtype, buffer = describe(array)
        return ArrayDescription(dtype, array.shape, frames.add(buffer))

    header = msgspec.msgpack.encode((PROTOCOL_VERSION, message), enc_hook=describe_array)
    encoded = [header, *frames.join()]
    _check_size(encoded, limits)
    return encoded


def decode_from_client(frames: Sequence[Buffer], limits: Limits) -> FromClient:
    """The message of an actor or evaluator; arrays lie over the frames, read-only.

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


class _Places(NamedTuple):
    """Where the columns of a message lie, in its frames behind the header."""

    columns: dict[str, tuple[Layout, int, int]]
    """Name -> layout, frame, first byte in it."""
    frame_sizes: list[int]


def _restore(described: bytes, frames: Sequence[Buffer], limits: Limits) -> Columns:
    """The columns of a message, over its frames."""
    places = _read_places(described, limits)
    more = len(frames) - 1 - len(places.frame_sizes)
    if more > 0:
        raise FrameCountError(f"{more} more frames than the header describes")
    columns: Columns = {}
    for name, (layout, frame, start) in places.columns.items():
        if frame >= len(frames):
            raise FrameCountError(f"no frame holds {name!r}")
        try:
            columns[name] = restore(layout, frames[frame], start)
        except ProtocolError as error:
            raise _placed(error, name) from error
    for number, size in enumerate(places.frame_sizes, 1):
        if len(frames[number]) != size:
            raise ArrayError(f"its arrays need {size} bytes, frame {number} holds {len(frames[number])}")
    return columns


@functools.lru_cache(maxsize=64)
def _read_places(described: bytes, limits: Limits) -> _Places:
    """Columns as a header describes them; the same words come again in nearly every message."""
    columns: dict[str, tuple[Layout, int, int]] = {}
    sizes: list[int] = []
    for name, description in _columns_decoder.decode(described).items():
        try:
            layout = check_description(description, limits)
        except ProtocolError as error:
            raise _placed(error, name) from error
        if description.behind and sizes:
            start = sizes[-1] + -sizes[-1] % ALIGNMENT
            sizes[-1] = start + layout.size
        else:
            start = 0
            sizes.append(layout.size)
        columns[name] = (layout, len(sizes), start)
    if len(columns) > limits.max_arrays:
        raise LimitError(f"{len(columns)} arrays, at most {limits.max_arrays} are allowed")
    return _Places(columns, sizes)


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
