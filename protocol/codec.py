"""Message <-> frames: a msgpack header, then the raw buffer of each array. Pure.

The header is `[protocol version, message]`. In the message a `columns` field holds name -> description;
the arrays follow as frames in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

from protocol.arrays import (
    ArrayDescription,
    Buffer,
    LimitError,
    Limits,
    ProtocolError,
    describe,
    restore,
)
from protocol.messages import PROTOCOL_VERSION, FromClient, FromLearner, Message


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


_envelope_decoder = msgspec.msgpack.Decoder(_Envelope)


def encode(message: Message, limits: Limits) -> list[Buffer]:
    """Frames of `message`; arrays are not copied and must not change until they are sent.

    Raises:
        ProtocolError: what the receiver with the same limits would reject.
    """
    buffers: list[Buffer] = []

    def describe_array(value: Any) -> Any:
        if isinstance(value, np.generic):
            return cast("np.generic[Any]", value).item()
        if not isinstance(value, np.ndarray):
            raise ProtocolError(f"{type(value).__name__} does not cross the wire")
        array = cast(np.ndarray, value)
        if array.ndim > limits.max_rank:
            raise ProtocolError(f"an array of {array.ndim} dimensions, max_rank is {limits.max_rank}")
        description, buffer = describe(array)
        buffers.append(buffer)
        return description

    header = msgspec.msgpack.encode((PROTOCOL_VERSION, message), enc_hook=describe_array)
    frames = [header, *buffers]
    _check_size(frames, limits)
    return frames


def decode_from_client(frames: Sequence[Buffer], limits: Limits) -> FromClient:
    """The message of an actor or evaluator; arrays lie over the frames, read-only.

    Raises:
        VersionError: another protocol version.
        ProtocolError: anything else that is not a message within the limits.
    """
    return _decode(frames, limits, FromClient)


def decode_from_learner(frames: Sequence[Buffer], limits: Limits) -> FromLearner:
    """The message of a learner; otherwise as `decode_from_client`."""
    return _decode(frames, limits, FromLearner)


def _decode(frames: Sequence[Buffer], limits: Limits, kinds: Any) -> Any:
    _check_size(frames, limits)
    buffers = iter(frames[1:])

    def restore_array(kind: type, value: Any) -> np.ndarray:
        if kind is not np.ndarray:
            raise NotImplementedError(kind)
        description = msgspec.convert(value, ArrayDescription)
        buffer = next(buffers, None)
        if buffer is None:
            raise FrameCountError("no frame holds this array")
        return restore(description, buffer, limits)

    try:
        version, raw = _envelope_decoder.decode(frames[0])
        if version != PROTOCOL_VERSION:
            raise VersionError(f"protocol version {version}, this side speaks {PROTOCOL_VERSION}")
        message = msgspec.msgpack.decode(raw, type=kinds, dec_hook=restore_array)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        # msgspec wraps what `restore_array` raised, and adds the place.
        kind = type(error.__cause__) if isinstance(error.__cause__, ProtocolError) else HeaderError
        # The error quotes what came: line ends in it must not forge lines of a log.
        raise kind(f"header: {' '.join(str(error).split())}") from error
    left = sum(1 for _ in buffers)
    if left:
        raise FrameCountError(f"{left} more frames than the header describes")
    return message


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
