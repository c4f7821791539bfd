"""Files that other processes read or write too: replaced as a whole (atomically), and locked."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Generator
from pathlib import Path

from config.process import UsageError

# Longer than `is_locked` keeps a file.
_QUESTION_S = 0.02


@contextlib.contextmanager
def replaced(path: Path) -> Generator[Path]:
    """A file to write beside `path`, which replaces it when the block ends without an error.

    Readers see the old file or the new one, never a part. Both are on disk before the name changes, so that
    this is true after a power failure as well. The folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    try:
        yield fresh
        sync(fresh)
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write `text` as the whole of `path`."""
    with replaced(path) as fresh:
        fresh.write_text(text)


def cut_torn_line(path: Path) -> None:
    """Drop a last line that a killed process left unfinished; no file is no error."""
    if path.is_file():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


def require_writable(path: Path, *, folder: bool) -> None:
    """Raise UsageError unless `path` is a file, or a folder, that can be written or made: to know it before
    hours of work."""
    there = next(place for place in (path, *path.absolute().parents) if _is_there(place))
    what = "folder" if folder or there != path else "file"
    if not (there.is_dir() if what == "folder" else there.is_file()):
        raise UsageError(f"{path} cannot be written: {broken_link(there) or f'{there} is no {what}'}")
    if not os.access(there, os.W_OK, effective_ids=True):
        raise UsageError(f"{path} cannot be written: no permission to write {there}")


def broken_link(path: Path) -> str | None:
    """In words, the link on the way to `path` that leads nowhere; None: there is none."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            return f"{place} is a link to {place.readlink()}, which is not there: mend or remove the link"
    return None


def _is_there(path: Path) -> bool:
    """Whether a file, a folder or a link has this name. Raises OSError: a name that no file can have."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Lock a file or folder for this process; None if another process has locked it.

    Returns an open descriptor. Closing it releases the lock, and so does the end of this process, however it
    ends: no lock is ever left behind.
    """
    descriptor = os.open(path, os.O_RDONLY)
    for pause_s in (_QUESTION_S, 0.0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(pause_s)
    os.close(descriptor)
    return None


def is_locked(path: Path) -> bool:
    """Whether a process has locked the file; False where there is none. It takes a shared lock for a moment,
    which `try_lock` bears."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def locked(path: Path, taken: Exception) -> Generator[None]:
    """Keep a file or folder locked during the block. Raises `taken` if another process has locked it."""
    descriptor = try_lock(path)
    if descriptor is None:
        raise taken
    try:
        yield
    finally:
        os.close(descriptor)


def name_holder(path: Path) -> None:
    """Write into a file that this process has locked who that is: process id and host."""
    with contextlib.suppress(OSError):  # the lock holds without it, on a full disk too
        path.write_text(f"{os.getpid()} {socket.gethostname()}\n")
