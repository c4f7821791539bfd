"""A folder that changes whole or not at all, whatever kills the process in between.

The next generation of the folder grows beside it out of hard links, so that only what is new is
written. Everything in it is synced before it takes the folder's place in one step.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

log = logging.getLogger(__name__)

_EXCHANGE = 2
_AT_FDCWD = -100
# Swaps that may come while the files of a folder are opened, which takes milliseconds.
_ATTEMPTS = 100
_LIBC = ctypes.CDLL(None, use_errno=True)


class UnreadableError(OSError):
    """A file in a folder that cannot be opened; the message names it."""


def reached(operation: str, path: Path) -> None:
    """Called before every step that a power cut or a full disk could interrupt; tests cut here."""


def beside(folder: Path, kind: str) -> Path:
    """A hidden neighbour of `folder`, on the same file system and outside of every reader's sight."""
    return folder.with_name(f".{folder.name}.{kind}")


class Generation:
    """The next state of `folder`, under construction. `replace` makes it the folder.

    Args:
        folder: missing, empty, or the generation before, all of whose files are taken over.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = beside(folder, "next")
        self._written: set[Path] = set()
        remove(self.root)
        _make_folder(self.root)
        for path in _files_below(folder):
            self._link(path, self.root / path.relative_to(folder))

    def write_json(self, name: str, value: object) -> None:
        """Write a file anew."""
        text = json.dumps(value, indent=4) + "\n"
        self.write(name, lambda path: path.write_text(text))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a parquet file anew."""
        self.write(
            name, lambda path: pq.write_table(table, path, use_dictionary=False, write_statistics=False)
        )

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make the file `name`; a link to the generation before is cut first."""
        path = self.root / name
        _make_folder(path.parent)
        self.remove(name)
        reached("write", path)
        write(path)
        self._written.add(path)

    def move_in(self, grown: Path, name: str) -> None:
        """Take a finished file from elsewhere on this file system."""
        path = self.root / name
        _make_folder(path.parent)
        reached("move", path)
        os.replace(grown, path)
        self._written.add(path)

    def take(self, path: Path, name: str) -> None:
        """Take a file of another folder as it is, by a link where the file system has them."""
        # Not to a view's link, which lasts no longer than the view.
        if path.is_symlink():
            self.write(name, lambda target: shutil.copyfile(path, target))
        else:
            self._link(path, self.root / name)

    def remove(self, name: str) -> None:
        """Leave a file out of this generation."""
        path = self.root / name
        reached("unlink", path)
        path.unlink(missing_ok=True)
        self._written.discard(path)

    def replace(self, wait: Callable[[], object] = lambda: None) -> None:
        """Sync everything, `wait`, and become the folder, in one step; the generation before is removed."""
        for path in sorted(self._written):
            sync(path)
        for parent, _, _ in os.walk(self.root, topdown=False):
            sync(Path(parent))
        wait()
        if self._folder.exists():
            exchange(self.root, self._folder)
        else:
            reached("rename", self._folder)
            os.rename(self.root, self._folder)
        sync(self._folder.parent)
        remove(self.root)

    def _link(self, path: Path, target: Path) -> None:
        _make_folder(target.parent)
        reached("link", target)
        try:
            os.link(path, target)
        except OSError as error:  # a file system without hard links
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            shutil.copy2(path, target)
            self._written.add(target)


@contextlib.contextmanager
def held(folder: Path, suffixes: tuple[str, ...] = (".json", ".parquet", ".mp4")) -> Iterator[Path]:
    """The folder as it stands now, for a reader who takes longer than the folder lasts.

    Yields:
        A folder of links to the opened files with these suffixes: later generations change nothing in it.

    Raises:
        BlockingIOError: the folder was swapped for its next generation in each of many attempts.
        UnreadableError: a file of the folder as it stands cannot be opened.
    """
    _allow_many_files()
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as opened, tempfile.TemporaryDirectory() as view:
            before = _identity(folder)
            try:
                _link_opened(folder, Path(view), suffixes, opened)
            except UnreadableError:
                if _identity(folder) == before:
                    raise
                continue
            if _identity(folder) == before:
                yield Path(view)
                return
    raise BlockingIOError(f"{folder} changes faster than it can be opened: try again when it rests")


def _allow_many_files() -> None:
    """The usual 1,024 open files are less than a long run's replay has."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _identity(folder: Path) -> tuple[int, int] | None:
    """Differs between two generations of a folder."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _link_opened(folder: Path, view: Path, suffixes: tuple[str, ...], opened: contextlib.ExitStack) -> None:
    for path in _files_below(folder):
        if path.suffix in suffixes:
            try:
                file = opened.enter_context(path.open("rb"))
            except OSError as error:
                raise UnreadableError(f"{path} cannot be read: {_reason(path, error)}") from error
            link = view / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            # Opens the same file even when its name is gone.
            link.symlink_to(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def _reason(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return f"it is a link to {os.readlink(path)}: {error.strerror}"
    return error.strerror or str(error)


def exchange(one: Path, other: Path) -> None:
    """Let two folders swap their names in one step; where the file system cannot, in three.

    A process that is killed among the three leaves no folder at `other`; `recover` brings it back.
    """
    reached("exchange", other)
    done = _LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(code, os.strerror(code), str(other))
    log.debug("no exchange of names on the file system of %s", other)
    before = beside(other, "before")
    remove(before)
    for source, target in ((other, before), (one, other), (before, one)):
        reached("rename", target)
        os.rename(source, target)


def recover(folder: Path) -> None:
    """Finish what a process that was killed left beside `folder`. Call while nobody writes to it."""
    before = beside(folder, "before")
    if before.exists() and not folder.exists():
        os.rename(before, folder)
    for kind in ("before", "next", "shard", "videos"):
        remove(beside(folder, kind))


def sync(path: Path) -> None:
    """Return when the file or folder is on the disk."""
    reached("sync", path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds, if it is there."""
    reached("remove", path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    reached("mkdir", path)
    path.mkdir(parents=True, exist_ok=True)


def _files_below(folder: Path) -> list[Path]:
    return [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
