"""Writes a segment: gathers bytes in aligned memory, then writes them past the page cache.

A write through the page cache costs several times as much processor time, and the sync also has to wait for
the kernel to write the pages back.
"""

import contextlib
import errno
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from learner.replay.journal.disk import Disk
from learner.replay.journal.format import EndMark, Padding, padding_record
from protocol.arrays import Buffer

# Memory addresses, sizes and places in the file must be multiples of this where the page cache is left out.
BLOCK_BYTES = 4096
# Large, since each write has a fixed cost. With the two spare blocks of a WriteBuffer: whole huge pages.
BUFFER_BYTES = (1 << 22) - 2 * BLOCK_BYTES
# Buffers in one write; Linux allows 1024.
_MOST_PARTS = 256
# Buffers kept for the next rows; what a burst needed beyond them goes back to the system.
_MOST_FREE = 16
# 0 where the system does not have it.
_PAST_THE_CACHE = getattr(os, "O_DIRECT", 0)
_HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)


class WriteBuffer:
    """Aligned memory for one write."""

    def __init__(self) -> None:
        # Two spare blocks: for the padding behind a last record that nearly filled it, and for the end mark.
        memory = mmap.mmap(-1, BUFFER_BYTES + 2 * BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if _HUGE_PAGES is not None:  # the disk is handed a few pieces of memory instead of a thousand
            with contextlib.suppress(OSError):  # a kernel without them
                memory.madvise(_HUGE_PAGES)
        self.memory = memoryview(memory)
        self.used = 0
        self.behind = 0
        """Bytes behind `used` that are written, too, and that the next buffer overwrites."""


class PendingRecords:
    """Records that wait to be written, one behind another in buffers. One caller at a time."""

    def __init__(self) -> None:
        self._full: list[WriteBuffer] = []
        self._filling = WriteBuffer()
        self._free: list[WriteBuffer] = []
        self.used = 0
        """Bytes that wait."""

    def add(self, parts: Sequence[Buffer]) -> None:
        for part in parts:
            buffer, size = self._filling, len(part)
            end = buffer.used + size
            if end <= BUFFER_BYTES:
                buffer.memory[buffer.used : end] = part
                buffer.used = end
            else:
                self._split(memoryview(part))
            self.used += size

    def take_full(self) -> list[WriteBuffer]:
        """The full buffers; the newest record's end may be missing."""
        taken, self._full = self._full, []
        self.used -= sum(buffer.used for buffer in taken)
        return taken

    def take_all(self, number: int) -> list[WriteBuffer]:
        """All buffers, with whole records and whole blocks of segment `number`: the last is filled up with
        padding and followed by an end mark."""
        last = self._filling
        gap = padding_record(number, Padding(), -last.used % BLOCK_BYTES, BLOCK_BYTES)
        end = padding_record(number, EndMark(), BLOCK_BYTES, BLOCK_BYTES)
        last.memory[last.used : last.used + len(gap) + len(end)] = gap + end
        last.used += len(gap)
        last.behind = len(end)
        self._full.append(last)
        self._filling = self._blank()
        self.used += len(gap)
        return self.take_full()

    def recycle(self, buffers: list[WriteBuffer]) -> None:
        """Use these buffers again: they were written."""
        self._free = (self._free + buffers)[:_MOST_FREE]

    def _split(self, part: memoryview) -> None:
        """Copy what does not fit into the current buffer, over as many as it takes."""
        while len(part):
            buffer = self._filling
            some = part[: BUFFER_BYTES - buffer.used]
            buffer.memory[buffer.used : buffer.used + len(some)] = some
            buffer.used += len(some)
            part = part[len(some) :]
            if buffer.used == BUFFER_BYTES:
                self._full.append(buffer)
                self._filling = self._blank()

    def _blank(self) -> WriteBuffer:
        buffer = self._free.pop() if self._free else WriteBuffer()
        buffer.used = buffer.behind = 0
        return buffer


class SegmentFile:
    """A file that buffers are written to, one behind another from its beginning on.
    `path`: made if missing; what it contains is overwritten, which is several times as fast as new blocks."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self.size = 0
        flags = os.O_WRONLY | os.O_CREAT
        try:
            self._descriptor = disk.open(path, flags | _PAST_THE_CACHE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Some file systems have no way past the page cache.
            self._descriptor = disk.open(path, flags)

    def write(self, buffers: Sequence[WriteBuffer]) -> None:
        """Write whole blocks, in one call: between two calls this thread may have to wait for a processor,
        while the disk is idle. On disk after `sync`."""
        parts = [buffer.memory[: buffer.used + buffer.behind] for buffer in buffers]
        place = self.size
        while parts:  # a file system may write less than it was given
            some = parts[:_MOST_PARTS]
            written = self._disk.write(self._descriptor, some, place)
            if written < sum(map(len, some)):
                written -= written % BLOCK_BYTES
            if not written:  # less than a block: the next try would write as little
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            place += written
            while parts and written >= len(parts[0]):
                written -= len(parts.pop(0))
            if written:
                parts[0] = parts[0][written:]
        self.size += sum(buffer.used for buffer in buffers)

    def sync(self) -> None:
        """Return once all that was written is on disk."""
        self._disk.sync(self._descriptor)

    def close(self) -> None:
        """Close without a sync."""
        os.close(self._descriptor)
