"""Laws of protocol.arrays and protocol.codec."""

from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from protocol.arrays import (
    DTYPES,
    Limits,
    ProtocolError,
    weights_digest,
)
from protocol.codec import VersionError, decode_from_client, decode_from_learner, encode
from protocol.messages import PROTOCOL_VERSION as VERSION
from protocol.messages import Experience, Heartbeat, Welcome

LIMITS = Limits(max_header_bytes=4096, max_arrays=8, max_rank=4, max_message_bytes=1 << 20)

arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: npst.arrays(DTYPES[name], npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


def experience(**columns: np.ndarray) -> Experience:
    return Experience(session=7, sequence=3, columns=columns)


def as_bytes(frames: list) -> list[bytes]:
    return [bytes(frame) for frame in frames]


@given(columns=st.dictionaries(st.text(max_size=10), arrays, max_size=5))
def test_decoding_gives_back_what_was_encoded(columns: dict[str, np.ndarray]) -> None:
    message = experience(**columns)
    decoded = decode_from_client(as_bytes(encode(message, LIMITS)), LIMITS)
    assert isinstance(decoded, Experience)
    assert (decoded.session, decoded.sequence, list(decoded.columns)) == (7, 3, list(columns))
    for name, array in columns.items():
        assert decoded.columns[name].dtype == array.dtype
        np.testing.assert_array_equal(decoded.columns[name], array)


@given(frames=st.lists(st.binary(max_size=60), max_size=4))
def test_arbitrary_bytes_are_a_protocol_error(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode_from_client(frames, LIMITS)


@given(data=st.data())
def test_a_damaged_message_is_a_message_or_a_protocol_error(data: st.DataObject) -> None:
    header, *rest = as_bytes(encode(experience(a=np.arange(6, dtype=np.int32).reshape(2, 3)), LIMITS))
    place = data.draw(st.integers(0, len(header) - 1))
    damaged = header[:place] + data.draw(st.binary(min_size=1, max_size=9)) + header[place + 1 :]
    try:
        decode_from_client([damaged, *rest], LIMITS)
    except ProtocolError as error:
        assert "\n" not in str(error)


def test_arrays_are_neither_copied_on_the_way_out_nor_in() -> None:
    array = np.zeros(1000, np.float32)
    _, frame = encode(experience(a=array), LIMITS)
    assert np.shares_memory(np.frombuffer(frame, np.uint8), array)
    frames = as_bytes(encode(experience(a=array), LIMITS))
    decoded = decode_from_client(frames, LIMITS)
    assert isinstance(decoded, Experience)
    assert np.shares_memory(decoded.columns["a"], np.frombuffer(frames[1], np.uint8))
    assert not decoded.columns["a"].flags.writeable


def _header(**changes: object) -> bytes:
    array = {"dtype": "f4", "shape": [2]} | changes
    fields = {"kind": "experience", "session": 1, "sequence": 0, "columns": {"a": array}}
    return msgspec.msgpack.encode([VERSION, fields])


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "no header frame"),
        ([_header(dtype="O"), b"\0" * 8], "dtype 'O' is none of"),
        ([_header(dtype=">f4"), b"\0" * 8], "dtype '>f4' is none of"),
        ([_header(shape=[3]), b"\0" * 8], "needs 12 bytes, the frame has 8"),
        ([_header(shape=[2**62, 4]), b"\0" * 8], "no possible shape"),
        ([_header(shape=[0, 2**63]), b""], "no possible shape"),
        ([_header(shape=[2**31 - 1, 2**31 - 1, 0]), b""], "no possible shape"),
        ([_header(shape=[-2, -1]), b"\0" * 8], "no possible shape"),
        ([_header(shape=[2, 1, 1, 1, 1]), b"\0" * 8], "5 dimensions, at most 4"),
        ([_header(dtype="b1"), b"\0\2"], "neither 0 nor 1"),
        ([_header()], "no frame for 'a'"),
        ([_header(), b"\0" * 8, b""], "1 more frames"),
        ([_header(), *[b"\0" * 8] * 9], "9 arrays, at most 8"),
        ([b"\0" * 5000], "5000 header bytes, at most 4096"),
        ([_header(), b"\0" * (1 << 20)], "bytes, at most 1048576"),
        (
            [msgspec.msgpack.encode([VERSION, {"kind": "experience", "session": 1}])],
            "missing required field",
        ),
        ([msgspec.msgpack.encode([VERSION, {"kind": "store"}])], "Invalid value 'store'"),
        ([msgspec.msgpack.encode([VERSION, {"kind": "st\nore"}])], "Invalid value 'st ore'"),
        (
            [msgspec.msgpack.encode([VERSION, {"kind": "heartbeat", "session": "1", "figures": {}}])],
            "Expected `int`, got `str`",
        ),
        ([_header(behind=True), b"\0" * 9], "its arrays need 8 bytes, frame 1 has 9"),
        ([_header(evil=1), b"\0" * 8], "unknown field `evil`"),
    ],
)
def test_what_is_wrong_is_said(frames: list[bytes], says: str) -> None:
    with pytest.raises(ProtocolError, match=says.replace("[", r"\[")):
        decode_from_client(frames, LIMITS)


def test_another_version_is_said_whatever_its_message_holds() -> None:
    with pytest.raises(VersionError, match=f"version 9, this side speaks {VERSION}"):
        decode_from_learner([msgspec.msgpack.encode([9, {"something": "new"}])], LIMITS)


def test_a_client_cannot_speak_as_a_learner() -> None:
    welcome = Welcome(session=1, next_sequence=0, durable_sequence=0, credit_rows=1, run=None)
    frames = as_bytes(encode(welcome, LIMITS))
    with pytest.raises(ProtocolError):
        decode_from_client(frames, LIMITS)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([object()]), "dtype object"),
        (np.zeros(2, np.complex64), "dtype complex64"),
        (np.zeros((1, 1, 1, 1, 1), np.float32), "5 dimensions"),
        (np.zeros(1 << 20, np.float32), "4194"),
    ],
)
def test_what_the_receiver_would_reject_is_not_sent(array: np.ndarray, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        encode(experience(a=array), LIMITS)


def test_numbers_of_numpy_are_plain_numbers_in_the_header() -> None:
    message = Heartbeat(session=1, figures={"a": cast(float, np.float32(0.5))})
    assert decode_from_client(as_bytes(encode(message, LIMITS)), LIMITS) == Heartbeat(
        session=1, figures={"a": 0.5}
    )


def test_digest_changes_with_names_and_values_and_not_with_order() -> None:
    one, two = np.float32([1, 2]), np.float32([3])
    digest = weights_digest({"a": one, "b": two})
    assert digest == weights_digest({"b": two, "a": one})
    assert digest not in (weights_digest({"a": one, "c": two}), weights_digest({"a": one, "b": two + 1}))


def test_strided_arrays_cross_in_their_logical_order() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4).T
    _, frame = as_bytes(encode(experience(a=array), LIMITS))
    np.testing.assert_array_equal(np.frombuffer(frame, np.int32).reshape(4, 3), array)


def test_small_arrays_share_a_frame_and_stay_aligned() -> None:
    columns = {
        "large": np.zeros(50_000, np.float32),
        "flags": np.ones(3, bool),
        "wide": np.arange(5, dtype=np.int64),
        "none": np.zeros((0, 4), np.float32),
        "also large": np.zeros(50_000, np.float32),
    }
    frames = encode(experience(**columns), LIMITS)
    assert [len(frame) for frame in frames[1:]] == [200_000, 8 + 40, 200_000]
    decoded = decode_from_client(as_bytes(frames), LIMITS)
    assert isinstance(decoded, Experience)
    for name, array in columns.items():
        np.testing.assert_array_equal(decoded.columns[name], array)
        assert decoded.columns[name].flags.aligned


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_message_of_an_earlier_version_is_read_as_journals_hold_it(version: int) -> None:
    fields = msgspec.msgpack.decode(_header())[1]
    header = msgspec.msgpack.encode([version, fields])
    decoded = decode_from_client([header, np.float32([1, 2]).tobytes()], LIMITS)
    assert isinstance(decoded, Experience)
    assert decoded.columns["a"].tolist() == [1, 2]
