"""Laws of journal.file: bytes come to the disk as they were, in whole blocks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from learner.replay.journal.file import BLOCK_BYTES, SHEET_BYTES, SegmentFile, Stage
from learner.replay.journal.format import (
    BatchRecord,
    End,
    Padding,
    encode_record,
    filler,
    scan,
    segment_number,
    segment_path,
)


def batch(sequence: int, size: int) -> tuple[BatchRecord, bytes]:
    """A record's head and a payload that tells it from others."""
    payload = np.random.default_rng(sequence).bytes(size)
    return BatchRecord("actor-0", "actor", 7, sequence, [size], 1, 1, sequence, 0), payload


def write(path: Path, groups: list[list[tuple[BatchRecord, bytes]]], *, at_once: bool = False) -> None:
    stage, file, number = Stage(), SegmentFile(path), segment_number(path)
    for group in groups:
        for head, payload in group:
            stage.add(encode_record(number, head, [payload]))
            sheets = [] if at_once else stage.take_full()
            file.write(sheets)
            stage.give_back(sheets)
        sheets = stage.take_all(number)
        assert stage.used == 0
        file.write(sheets)
        assert file.size % BLOCK_BYTES == 0
        file.sync()
        stage.give_back(sheets)
    file.close()


def read(path: Path) -> list[tuple[BatchRecord, bytes]]:
    return [(record.head, record.payload) for record in scan(path) if isinstance(record.head, BatchRecord)]


SIZES = [1, 4000, 4096, SHEET_BYTES - 100, SHEET_BYTES, 3 * SHEET_BYTES + 5, 17, 2 * SHEET_BYTES]


@pytest.mark.parametrize("together", [1, 3, 8])
def test_records_of_any_size_come_back(tmp_path: Path, together: int) -> None:
    records = [batch(sequence, size) for sequence, size in enumerate(SIZES)]
    path = segment_path(tmp_path, 3)
    write(path, [records[i : i + together] for i in range(0, len(records), together)])
    assert read(path) == records
    *_, last = scan(path)
    assert isinstance(last.head, End) and last.end == path.stat().st_size


def test_padding_fills_any_gap_with_one_record(tmp_path: Path) -> None:
    for gap in (*range(1, 64), *range(64, BLOCK_BYTES - 64, 61), *range(BLOCK_BYTES - 64, BLOCK_BYTES)):
        filled = filler(3, Padding(), gap, BLOCK_BYTES)
        assert len(filled) in (gap, gap + BLOCK_BYTES)
        path = segment_path(tmp_path, 3)
        path.write_bytes(filled)
        assert [record.end for record in scan(path)] == [len(filled)]
    assert filler(3, Padding(), 0, BLOCK_BYTES) == b""


def test_a_file_system_without_a_way_past_the_cache_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open, refused = os.open, []

    def picky(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            # Linux makes the file and then says no.
            os.close(really_open(path, flags & ~os.O_DIRECT, mode))
            refused.append(path)
            raise OSError(errno.EINVAL, "Invalid argument")
        return really_open(path, flags, mode)

    monkeypatch.setattr("learner.replay.journal.file.os.open", picky)
    records = [batch(0, 5000), batch(1, 50)]
    path = segment_path(tmp_path, 3)
    write(path, [records])
    assert refused
    assert read(path) == records


@pytest.mark.parametrize("least", [BLOCK_BYTES, SHEET_BYTES - BLOCK_BYTES, SHEET_BYTES + 100])
def test_a_file_system_that_takes_a_part_gets_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    really_write, rng = os.pwritev, np.random.default_rng(0)

    def some(descriptor: int, parts: list[memoryview], place: int) -> int:
        together = b"".join(parts)[: least + int(rng.integers(BLOCK_BYTES))]
        written = really_write(descriptor, [together], place)
        assert place % BLOCK_BYTES == 0
        return written

    monkeypatch.setattr("learner.replay.journal.file._PAST_THE_CACHE", 0)
    monkeypatch.setattr("learner.replay.journal.file.os.pwritev", some)
    records = [batch(sequence, 1000 * sequence * SHEET_BYTES // 1999) for sequence in range(1, 5)]
    path = segment_path(tmp_path, 3)
    write(path, [records[:3], records[3:]], at_once=True)
    assert read(path) == records


def test_a_disk_that_takes_less_than_a_block_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.pwritev", lambda *_: 1000)
    stage = Stage()
    stage.add([bytes(5000)])
    file = SegmentFile(tmp_path / "segment")
    with pytest.raises(OSError, match="No space left"):
        file.write(stage.take_all(3))
    file.close()
