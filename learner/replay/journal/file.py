"""Bytes on their way to a segment: gathered in aligned memory, written past the page cache.

Through the page cache a record costs the processor several times what the disk's own copy of it does, and
the sync has to wait for the kernel's writer besides.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from learner.replay.journal.format import End, Padding, filler
from protocol.arrays import Buffer

# What disks and file systems ask of memory, sizes and places in the file where the page cache is left out.
BLOCK_BYTES = 4096
# Large, as a write costs the same whatever it holds. With the two blocks more of a Sheet, whole huge pages.
SHEET_BYTES = (1 << 22) - 2 * BLOCK_BYTES
# Sheets in one write; Linux takes 1024.
_MOST_PARTS = 256
# Kept for the next rows; what a burst takes beyond them goes back to the system.
_MOST_FREE = 16
# 0 where the system has no such thing.
_PAST_THE_CACHE = getattr(os, "O_DIRECT", 0)
_HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)


class Sheet:
    """Aligned memory for one write."""

    def __init__(self) -> None:
        # Two blocks more, for the padding behind a last record that nearly filled it, and for the End.
        memory = mmap.mmap(-1, SHEET_BYTES + 2 * BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if _HUGE_PAGES is not None:  # the disk is handed a few pieces of memory instead of a thousand
            with contextlib.suppress(OSError):  # a kernel without them
                memory.madvise(_HUGE_PAGES)
        self.memory = memoryview(memory)
        self.used = 0
        self.behind = 0
        """Bytes behind `used` that are written, too, and then written over by the next sheet."""


class Stage:
    """Records that wait to be written, one behind another in sheets. One caller at a time."""

    def __init__(self) -> None:
        self._full: list[Sheet] = []
        self._filling = Sheet()
        self._free: list[Sheet] = []
        self.used = 0
        """Bytes that wait."""

    def add(self, parts: Sequence[Buffer]) -> None:
        """Copy one record, given in parts."""
        for part in parts:
            sheet, size = self._filling, len(part)
            end = sheet.used + size
            if end <= SHEET_BYTES:
                sheet.memory[sheet.used : end] = part
                sheet.used = end
            else:
                self._split(memoryview(part))
            self.used += size

    def take_full(self) -> list[Sheet]:
        """Those that hold as much as they can; the newest record's end may be missing."""
        taken, self._full = self._full, []
        self.used -= sum(sheet.used for sheet in taken)
        return taken

    def take_all(self, number: int) -> list[Sheet]:
        """All of them, whole records and whole blocks of segment `number`: the last is filled up with
        padding, and an End lies behind."""
        last = self._filling
        gap = filler(number, Padding(), -last.used % BLOCK_BYTES, BLOCK_BYTES)
        end = filler(number, End(), BLOCK_BYTES, BLOCK_BYTES)
        last.memory[last.used : last.used + len(gap) + len(end)] = gap + end
        last.used += len(gap)
        last.behind = len(end)
        self._full.append(last)
        self._filling = self._blank()
        self.used += len(gap)
        return self.take_full()

    def give_back(self, sheets: list[Sheet]) -> None:
        """These were written."""
        self._free = (self._free + sheets)[:_MOST_FREE]

    def _split(self, part: memoryview) -> None:
        """Copy what goes over the end of a sheet, or of several."""
        while len(part):
            sheet = self._filling
            some = part[: SHEET_BYTES - sheet.used]
            sheet.memory[sheet.used : sheet.used + len(some)] = some
            sheet.used += len(some)
            part = part[len(some) :]
            if sheet.used == SHEET_BYTES:
                self._full.append(sheet)
                self._filling = self._blank()

    def _blank(self) -> Sheet:
        sheet = self._free.pop() if self._free else Sheet()
        sheet.used = sheet.behind = 0
        return sheet


class SegmentFile:
    """A file that sheets are written to, one behind another from its beginning on.

    Args:
        path: made if missing; what it holds is written over, several times as fast as new blocks are.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        flags = os.O_WRONLY | os.O_CREAT
        try:
            self._descriptor = os.open(path, flags | _PAST_THE_CACHE, 0o644)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Some file systems have no way past the page cache.
            self._descriptor = os.open(path, flags, 0o644)

    def write(self, sheets: Sequence[Sheet]) -> None:
        """Whole blocks, in one call: between two this thread may wait for a processor, and the disk with it.
        On disk after `sync`."""
        parts = [sheet.memory[: sheet.used + sheet.behind] for sheet in sheets]
        place = self.size
        while parts:  # a file system may take less at once
            some = parts[:_MOST_PARTS]
            written = os.pwritev(self._descriptor, some, place)
            if written < sum(map(len, some)):
                written -= written % BLOCK_BYTES
            if not written:  # less than a block: again would take as little, for ever
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            place += written
            while parts and written >= len(parts[0]):
                written -= len(parts.pop(0))
            if written:
                parts[0] = parts[0][written:]
        self.size += sum(sheet.used for sheet in sheets)

    def sync(self) -> None:
        """Return once all that was written is on disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Without a sync."""
        os.close(self._descriptor)
