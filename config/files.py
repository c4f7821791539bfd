"""Files that other processes read or write too: replaced as a whole (atomically), and locked."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import logging
import os
import shutil
import socket
import time
from collections.abc import Generator
from pathlib import Path

from config.process import UsageError

log = logging.getLogger(__name__)

# Longer than `is_locked` keeps a file.
_QUESTION_S = 0.02
# Between two looks whether a lock is free.
_TURN_S = 0.1
# What flock says on volumes of a network that have no locks. EBADF: NFS, of a folder, which nobody can write.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


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
    ends: no lock is ever left behind. Where the file system refuses locks, other hosts do not see this one.
    """
    # NFS locks a file for one process only if it may write it.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        for pause_s in (_QUESTION_S, 0.0):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                time.sleep(pause_s)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _NO_LOCKS:
            raise
        _warn_of_one_host(path.parent, error.strerror)
        return _try_lock_on_this_host(path)
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
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return _is_locked_on_this_host(path)
    finally:
        os.close(descriptor)
    return False


def _name_on_this_host(path: Path) -> str:
    """Of a socket that is no file: it ends with its process, and only this host sees it."""
    return f"\0residual-rl-{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}"


def _try_lock_on_this_host(path: Path) -> int | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(_name_on_this_host(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return None
        return lock.detach()


def _is_locked_on_this_host(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as question:
        return question.connect_ex(_name_on_this_host(path)) == 0


@functools.cache
def _warn_of_one_host(folder: Path, why: str) -> None:
    log.warning(
        "%s is on a volume that refuses locks (%s): processes of this host are kept apart all the same, "
        "but two hosts must not use one run",
        folder, why,
    )  # fmt: skip


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


@contextlib.contextmanager
def locked_in_turn(path: Path) -> Generator[None]:
    """Keep a file or folder locked during the block, once other processes have unlocked it."""
    while (descriptor := try_lock(path)) is None:
        time.sleep(_TURN_S)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def whole_folder(target: Path, taken: Exception) -> Generator[Path]:
    """An empty folder beside `target`, which becomes `target` when the block ends without an error.

    What a killed process has left of such a block is removed first. `target` may be an empty folder. Raises
    `taken` if another process is in such a block."""
    beside = target.absolute().with_name(f".{target.absolute().name}.new")
    beside.mkdir(parents=True, exist_ok=True)
    with locked(beside, taken):
        fresh = beside / "whole"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            yield fresh
            os.replace(fresh, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def name_holder(path: Path) -> None:
    """Write into a file that this process has locked who that is: process id and host."""
    with contextlib.suppress(OSError):  # the lock holds without it, on a full disk too
        path.write_text(f"{os.getpid()} {socket.gethostname()}\n")


def size_mb(folder: Path) -> float:
    """Size of all files below `folder`, in 10^6 bytes; files that vanish meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total / 1e6
