"""A folder that changes as a whole or not at all, even if the process is killed in between.

The next version of the folder is staged beside it out of hard links, so that only what is new is
written. Everything in it is synced before it takes the folder's place in one step.
"""

import contextlib
import ctypes
import errno
import json
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pyarrow as pa

from config.files import sync
from learner.replay.dataset.arrow import write_parquet

log = logging.getLogger(__name__)

_EXCHANGE = 2
_AT_FDCWD = -100
# Opening the files of a folder takes milliseconds. If it is swapped meanwhile, it is opened again, at most
# this many times.
_ATTEMPTS = 100
_LIBC = ctypes.CDLL(None, use_errno=True)


class UnreadableError(OSError):
    """A file in a folder that cannot be opened; the message names it."""


def sibling(folder: Path, kind: str) -> Path:
    """A hidden path beside `folder`, on the same file system, where no reader looks."""
    return folder.with_name(f".{folder.name}.{kind}")


class StagedFolder:
    """The next version of `folder`, while it is made. `swap_in` makes it the folder.
    `folder`: missing, empty, or the present version, all of whose files are in the next one too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = sibling(folder, "next")
        self._written: set[Path] = set()
        remove(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        for path in _files_below(folder):
            self._link(path, self.root / path.relative_to(folder))

    def write_json(self, name: str, value: object) -> None:
        """Write or replace a file."""
        text = json.dumps(value, indent=4) + "\n"
        self.write(name, lambda path: path.write_text(text))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write or replace a parquet file."""
        self.write(name, lambda path: write_parquet(table, path))

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make the file `name`; a link to the present version is removed first."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.remove(name)
        write(path)
        self._written.add(path)

    def move_in(self, file: Path, name: str) -> None:
        """Move in a finished file from elsewhere on this file system."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, path)
        self._written.add(path)

    def link_in(self, path: Path, name: str) -> None:
        """Link to a file of another folder, or copy it where the file system has no links."""
        # A link to a link of a snapshot would last no longer than the snapshot.
        if path.is_symlink():
            self.write(name, lambda target: shutil.copyfile(path, target))
        else:
            self._link(path, self.root / name)

    def remove(self, name: str) -> None:
        """Leave a file out."""
        path = self.root / name
        path.unlink(missing_ok=True)
        self._written.discard(path)

    def swap_in(self, wait: Callable[[], object] = lambda: None) -> None:
        """Sync everything, `wait`, and become the folder in one step; the version before is removed."""
        for path in sorted(self._written):
            sync(path)
        for parent, _, _ in os.walk(self.root, topdown=False):
            sync(Path(parent))
        wait()
        if self._folder.exists():
            exchange(self.root, self._folder)
        else:
            os.rename(self.root, self._folder)
        sync(self._folder.parent)
        remove(self.root)

    def _link(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError as error:  # a file system without hard links
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
                raise
            shutil.copy2(path, target)
            self._written.add(target)


@contextlib.contextmanager
def snapshot(folder: Path, suffixes: tuple[str, ...] = (".json", ".parquet", ".mp4")) -> Generator[Path]:
    """The folder's present version, for a reader who takes longer than it lasts.

    Yields:
        A folder of links to the opened files with these suffixes: later versions change nothing in it.

    Raises:
        BlockingIOError: the folder was swapped for its next version in each of many attempts.
        UnreadableError: a file of the present version cannot be opened.
    """
    # A long run's replay has more than the usual limit of 1,024 open files.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
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
    raise BlockingIOError(f"{folder} changes faster than it can be opened: try again later")


def _identity(folder: Path) -> tuple[int, int] | None:
    """Differs between two versions of a folder."""
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
    """Swap the names of two folders in one step; in three where the file system cannot.

    A process that is killed between the three leaves no folder at `other`; `recover` brings it back.
    """
    done = _LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(code, os.strerror(code), str(other))
    log.debug("no exchange of names on the file system of %s", other)
    before = sibling(other, "before")
    remove(before)
    for source, target in ((other, before), (one, other), (before, one)):
        os.rename(source, target)


def recover(folder: Path) -> None:
    """Clean up what a killed process left beside `folder`. Call while nobody writes to it."""
    before = sibling(folder, "before")
    if before.exists() and not folder.exists():
        os.rename(before, folder)
    for kind in ("before", "next", "shard", "videos"):
        remove(sibling(folder, kind))


def remove(path: Path) -> None:
    """Remove a file or a folder with its content, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files_below(folder: Path) -> list[Path]:
    """Raises UnreadableError: a folder in it cannot be listed."""
    walk = os.walk(folder, onerror=_not_listed)
    return [Path(parent) / name for parent, _, names in walk for name in names]


def _not_listed(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise UnreadableError(f"{error.filename} cannot be read: {error.strerror}") from error
