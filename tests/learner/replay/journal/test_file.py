"""Laws of journal.file: bytes come to the disk as they were, in whole blocks."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from learner.replay.journal.disk import Disk
from learner.replay.journal.file import BLOCK_BYTES, BUFFER_BYTES, PendingRecords, SegmentFile
from learner.replay.journal.format import (
    BatchRecord,
    EndMark,
    Padding,
    encode_record,
    padding_record,
    scan,
    segment_number,
    segment_path,
)


def batch(sequence: int, size: int) -> tuple[BatchRecord, bytes]:
    """A record's head and a payload that tells it from others."""
    payload = np.random.default_rng(sequence).bytes(size)
    return BatchRecord("actor-0", "actor", 7, sequence, [size], 1, 1, sequence, 0), payload


def write(
    path: Path,
    groups: list[list[tuple[BatchRecord, bytes]]],
    disk: Disk | None = None,
    *,
    at_once: bool = False,
) -> None:
    pending, file, number = PendingRecords(), SegmentFile(path, disk or Disk()), segment_number(path)
    for group in groups:
        for head, payload in group:
            pending.add(encode_record(number, head, [payload]))
            buffers = [] if at_once else pending.take_full()
            file.write(buffers)
            pending.recycle(buffers)
        buffers = pending.take_all(number)
        assert pending.used == 0
        file.write(buffers)
        assert file.size % BLOCK_BYTES == 0
        file.sync()
        pending.recycle(buffers)
    file.close()


def read(path: Path) -> list[tuple[BatchRecord, bytes]]:
    return [(record.head, record.payload) for record in scan(path) if isinstance(record.head, BatchRecord)]


SIZES = [1, 4000, 4096, BUFFER_BYTES - 100, BUFFER_BYTES, 3 * BUFFER_BYTES + 5, 17, 2 * BUFFER_BYTES]


@pytest.mark.parametrize("together", [1, 3, 8])
def test_records_of_any_size_come_back(tmp_path: Path, together: int) -> None:
    records = [batch(sequence, size) for sequence, size in enumerate(SIZES)]
    path = segment_path(tmp_path, 3)
    write(path, [records[i : i + together] for i in range(0, len(records), together)])
    assert read(path) == records
    *_, last = scan(path)
    assert isinstance(last.head, EndMark) and last.end == path.stat().st_size


def test_padding_fills_any_gap_with_one_record(tmp_path: Path) -> None:
    for gap in (*range(1, 64), *range(64, BLOCK_BYTES - 64, 61), *range(BLOCK_BYTES - 64, BLOCK_BYTES)):
        filled = padding_record(3, Padding(), gap, BLOCK_BYTES)
        assert len(filled) in (gap, gap + BLOCK_BYTES)
        path = segment_path(tmp_path, 3)
        path.write_bytes(filled)
        assert [record.end for record in scan(path)] == [len(filled)]
    assert padding_record(3, Padding(), 0, BLOCK_BYTES) == b""


class CachingDisk(Disk):
    """A file system that has no way past the page cache."""

    def __init__(self) -> None:
        self.refused = 0

    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_DIRECT:
            # Linux makes the file and then says no.
            os.close(super().open(path, flags & ~os.O_DIRECT))
            self.refused += 1
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().open(path, flags)


def test_a_file_system_without_a_way_past_the_cache_is_written_all_the_same(tmp_path: Path) -> None:
    records, disk = [batch(0, 5000), batch(1, 50)], CachingDisk()
    path = segment_path(tmp_path, 3)
    write(path, [records], disk)
    assert disk.refused
    assert read(path) == records


class SlowDisk(CachingDisk):
    """Writes a part of what it is given: at least `least` bytes."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least, self._rng = least, np.random.default_rng(0)

    def write(self, descriptor: int, parts: Sequence[memoryview], place: int) -> int:
        assert place % BLOCK_BYTES == 0
        left, some = self._least + int(self._rng.integers(BLOCK_BYTES)), []
        for part in parts:
            some.append(part[:left])
            left -= len(some[-1])
            if not left:
                break
        return super().write(descriptor, some, place)


@pytest.mark.parametrize("least", [BLOCK_BYTES, BUFFER_BYTES - BLOCK_BYTES, BUFFER_BYTES + 100])
def test_a_file_system_that_writes_a_part_gets_the_rest(tmp_path: Path, least: int) -> None:
    records = [batch(sequence, 1000 * sequence * BUFFER_BYTES // 1999) for sequence in range(1, 5)]
    path = segment_path(tmp_path, 3)
    write(path, [records[:3], records[3:]], SlowDisk(least), at_once=True)
    assert read(path) == records


class FullDisk(Disk):
    def write(self, descriptor: int, parts: Sequence[memoryview], place: int) -> int:
        return 1000


def test_a_disk_that_takes_less_than_a_block_is_full(tmp_path: Path) -> None:
    pending = PendingRecords()
    pending.add([bytes(5000)])
    file = SegmentFile(tmp_path / "segment", FullDisk())
    with pytest.raises(OSError, match="No space left"):
        file.write(pending.take_all(3))
    file.close()
