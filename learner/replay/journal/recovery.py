"""Reads segments that an earlier process wrote, after whatever ended it."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from learner.replay.journal.disk import Disk
from learner.replay.journal.format import (
    BatchRecord,
    EndMark,
    Head,
    JournalError,
    Snapshot,
    scan,
    segment_paths,
    split_payload,
)
from protocol.arrays import Limits, ProtocolError
from protocol.codec import decode_from_client
from protocol.messages import Evaluation, Experience, ExperienceSpec

log = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """One record of a segment, and where it ends."""

    head: Head
    message: Experience | Evaluation | None
    """Of a batch that was not refused."""
    end: int


def read_segment(path: Path, spec: ExperienceSpec, limits: Limits) -> Iterator[Recovered]:
    """All records of one segment. Raises JournalError: a journal of another spec or release, or damage."""
    head, end = None, 0
    for head, payload, end in scan(path):
        if isinstance(head, Snapshot):
            _require_spec(head.spec, spec, path)
        message = None
        if isinstance(head, BatchRecord) and head.frame_bytes:
            message = _decode(head, payload, limits, path)
        yield Recovered(head, message, end)
    if end != path.stat().st_size and not isinstance(head, EndMark):
        raise JournalError(
            f"{path} is damaged at byte {end}, before the journal's tail: "
            "move it away to go on without its rows"
        )


def cut_torn_tail(folder: Path, disk: Disk) -> None:
    """Cut the newest segment behind its EndMark or last whole record and sync it; log if there is no EndMark.

    A segment without a whole record is deleted, and the one before it is looked at.
    """
    paths = segment_paths(folder)
    if not paths:
        return
    newest = paths[-1]
    size, whole, ended = newest.stat().st_size, 0, False
    for record in scan(newest):
        whole, ended = record.end, isinstance(record.head, EndMark)
    if whole < size and not ended:
        # Bytes of an older segment that was overwritten count, too: nothing tells them from torn ones.
        log.warning("%s: cut a torn tail: no whole record in %d bytes behind %d", newest, size - whole, whole)
    if whole == 0:
        disk.delete(newest)
        disk.sync_folder(folder)
        cut_torn_tail(folder, disk)
        return
    disk.cut(newest, whole)


def _require_spec(theirs: ExperienceSpec, ours: ExperienceSpec, path: Path) -> None:
    for name in theirs.__struct_fields__:
        written, wanted = getattr(theirs, name), getattr(ours, name)
        if written != wanted:
            raise JournalError(
                f"{path} has rows of {name} {written}, this run has {name} {wanted}: "
                "give the run's own keys to the release that made it, or choose another name=<run>"
            )


def _decode(head: BatchRecord, payload: bytes, limits: Limits, path: Path) -> Experience | Evaluation:
    try:
        message = decode_from_client(split_payload(head, payload), limits)
    except ProtocolError as error:
        raise JournalError(f"{path} has a message that this release cannot read: {error}") from error
    assert isinstance(message, Experience | Evaluation), message
    return message
