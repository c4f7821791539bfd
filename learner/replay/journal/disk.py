"""All that a journal asks of its file system. Tests replace it by one that loses power or is full."""

import os
from collections.abc import Sequence
from pathlib import Path

from config.files import sync


class Disk:
    """The real one."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags, 0o644)

    def write(self, descriptor: int, parts: Sequence[memoryview], place: int) -> int:
        """Write parts one behind another from byte `place` on; returns how many bytes were written."""
        return os.pwritev(descriptor, parts, place)

    def sync(self, descriptor: int) -> None:
        """Return once all that was written to the file is on disk."""
        os.fdatasync(descriptor)

    def cut(self, path: Path, size: int) -> None:
        """Cut the file behind `size` bytes and sync it."""
        descriptor = self.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, new: Path) -> None:
        path.rename(new)

    def delete(self, path: Path) -> None:
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Make names that were added or removed durable."""
        sync(folder)
