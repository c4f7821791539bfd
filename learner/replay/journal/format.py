"""Bytes of the journal: records one after another in segment files.

A record is, little-endian, two u32 (bytes of the head, bytes of the payload), a u64 (XXH3 over these two
numbers, head and payload, XOR the segment's number), the head (msgpack), the payload (the frames of a message
as they came over the wire).
What is synced fills whole blocks of the file, with a record of zeros as padding where necessary. A block with
an EndMark follows, and the next records overwrite it.
Every segment begins with a Snapshot, so that each can be deleted without its neighbours.

A segment may be written over an older one, whose records then follow its own. Their checksums contain
another number, so they are not taken for records of this segment. No record in a file has a higher number
than the one in the file's name; a new segment's number is higher than those of all names.
"""

import itertools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import xxhash

from config.process import FailedError
from protocol.arrays import Buffer
from protocol.messages import Evaluation, ExperienceSpec
from protocol.session.peer import SessionState

_PREFIX = struct.Struct("<IIQ")
_LENGTHS = struct.Struct("<II")
_SUFFIX = ".journal"
_SPARE_SUFFIX = ".spare"
# A head is some hundred bytes; a snapshot names thousands of sessions. More is damage.
_MOST_HEAD_BYTES = 1 << 24


class JournalError(FailedError):
    """A journal that cannot be used; one line that says what and what to do."""


class Totals(msgspec.Struct, array_like=True):
    """What the run has received since it began."""

    decisions: int = 0
    frames: int = 0
    positions: int = 0
    """Places in the stream of rows: one a decision, and one a final observation."""


class Snapshot(msgspec.Struct, tag="snapshot", array_like=True):
    """All that is known when a segment begins."""

    spec: ExperienceSpec
    sessions: list[SessionState]
    version: int
    totals: Totals
    evaluations: list[Evaluation]
    """The newest of each policy, oldest first."""


class BatchRecord(msgspec.Struct, tag="batch", array_like=True):
    """One numbered message; its frames are the payload. Without frames: received and refused."""

    actor_id: str
    role: str
    session: int
    sequence: int
    frame_bytes: list[int]
    decisions: int
    frames: int
    position: int
    """Of its first row in the stream of rows."""
    finals: int


class SessionEnd(msgspec.Struct, tag="end", array_like=True):
    """The session was replaced by a newer one of the same actor."""

    actor_id: str
    session: int


class VersionMark(msgspec.Struct, tag="version", array_like=True):
    """Versions of the weights up to this one may have been published."""

    version: int


class Padding(msgspec.Struct, tag="padding", array_like=True):
    """No content: files are written in whole blocks."""


class EndMark(msgspec.Struct, tag="end of file", array_like=True):
    """Nothing was written behind this; the next records overwrite it."""


Head = Snapshot | BatchRecord | SessionEnd | VersionMark | Padding | EndMark

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Head)


class Record(NamedTuple):
    """One whole record and where it ends in its file."""

    head: Head
    payload: bytes
    end: int


def encode_record(number: int, head: Head, frames: Sequence[Buffer] = ()) -> list[Buffer]:
    """The bytes of a record of segment `number` in parts; frames are not copied."""
    encoded = _encoder.encode(head)
    lengths = _LENGTHS.pack(len(encoded), sum(map(len, frames)))
    checksum = xxhash.xxh3_64(lengths)
    checksum.update(encoded)
    for frame in frames:
        checksum.update(frame)
    return [lengths + (checksum.intdigest() ^ number).to_bytes(8, "little") + encoded, *frames]


def padding_record(number: int, head: Padding | EndMark, gap: int, block: int) -> bytes:
    """One record of `gap` bytes, or of `block` more where a record cannot be so small; nothing for 0."""
    if gap == 0:
        return b""
    least = _PREFIX.size + len(_encoder.encode(head))
    zeros = gap - least if gap >= least else gap + block - least
    return b"".join(encode_record(number, head, [bytes(zeros)]))


def scan(path: Path) -> Iterator[Record]:
    """Whole records from the file's beginning, up to an EndMark or the first record that is not whole.
    Raises JournalError: a whole record that this release does not understand."""
    size = path.stat().st_size
    with path.open("rb") as file:
        number = segment_number(path)
        record = _read_record(file, path, size, number)
        if record is None:  # releases that wrote each segment into a new file have no number in the checksum
            file.seek(number := 0)
            record = _read_record(file, path, size, number)
        while record is not None:
            yield record
            if isinstance(record.head, EndMark):
                return
            record = _read_record(file, path, size, number)


def _read_record(file: BinaryIO, path: Path, size: int, number: int) -> Record | None:
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return None
    head_bytes, payload_bytes, expected = _PREFIX.unpack(prefix)
    # A head is never empty, so zeros at the end of a file are no record.
    plausible = 0 < head_bytes <= _MOST_HEAD_BYTES and file.tell() + head_bytes + payload_bytes <= size
    if not plausible:
        return None
    encoded, payload = file.read(head_bytes), file.read(payload_bytes)
    if xxhash.xxh3_64_intdigest(prefix[: _LENGTHS.size] + encoded + payload) ^ number != expected:
        return None
    try:
        return Record(_decoder.decode(encoded), payload, file.tell())
    except msgspec.MsgspecError as error:
        raise JournalError(f"{path} was written by another release: {error}") from error


def split_payload(head: BatchRecord, payload: bytes) -> list[bytes]:
    """The frames of a message; each aligned, as they came from the socket."""
    places = itertools.pairwise(itertools.accumulate(head.frame_bytes, initial=0))
    return [payload[start:end] for start, end in places]


def segment_paths(folder: Path) -> list[Path]:
    """All segments, oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}{_SUFFIX}"


def segment_number(path: Path) -> int:
    """The reverse of `segment_path`."""
    return int(path.name.removesuffix(_SUFFIX))


def spare_path(path: Path) -> Path:
    """The name of a segment's file that is not needed any more, until a new segment is written over it."""
    return path.with_suffix(_SPARE_SUFFIX)


def spare_paths(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{_SPARE_SUFFIX}"))
