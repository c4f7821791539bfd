"""Files of messages that were sent and are not durable yet: they survive a killed process.

    <folder>/<actor id>/<session>/<sequence>

A file contains the frames of one message, and is deleted once the learner calls the message durable. Nothing
is synced: what was written survives a killed process, but not a host that goes down.
"""

import contextlib
import errno
import logging
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from config.files import try_lock
from config.process import FailedError
from protocol.arrays import Buffer, Limits, ProtocolError
from protocol.codec import decode_from_client
from protocol.messages import Evaluation, Experience

log = logging.getLogger(__name__)

_COUNT = struct.Struct("<I")


class SpoolError(FailedError):
    """A spool that cannot be written; the message names the key to change."""


class Spool:
    """One session's files; while this process lives, no other process takes them for left over.
    Raises SpoolError: a folder that cannot be made."""

    def __init__(self, folder: Path, actor_id: str, session: int) -> None:
        self.session = session
        self._folder = _of_actor(folder, actor_id) / str(session)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = try_lock(self._folder)
        except OSError as error:
            raise _explain(error, folder) from error
        self.is_ours = self._lock is not None
        """False: another process that is alive has it."""
        self._first = min(self._sequences(), default=0)
        self._next = max(self._sequences(), default=-1) + 1

    def keep(self, sequence: int, frames: Sequence[Buffer]) -> None:
        """Write one message, unless it was written before; numbers come in ascending order.
        Raises SpoolError: as when the disk is full."""
        if sequence < self._next:
            return
        sizes = struct.pack(f"<{len(frames)}I", *map(len, frames))
        path = self._folder / str(sequence)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                written = os.writev(descriptor, [_COUNT.pack(len(frames)), sizes, *frames])
            finally:
                os.close(descriptor)
            if written < _COUNT.size + len(sizes) + sum(map(len, frames)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _explain(error, self._folder) from error
        self._next = sequence + 1

    def forget_below(self, sequence: int) -> None:
        """These messages are on the learner's disk."""
        for number in range(self._first, sequence):
            # It may be missing where the host went down.
            (self._folder / str(number)).unlink(missing_ok=True)
        self._first = max(self._first, sequence)

    def load(self, limits: Limits) -> list[Experience | Evaluation]:
        """The messages that an earlier process left, in order. Left out are files that are not whole: the
        process was killed while it wrote them, before it sent them, or the host went down."""
        messages: list[Experience | Evaluation] = []
        numbers = sorted(self._sequences())
        for number in numbers:
            message = _read(self._folder / str(number), limits)
            if message is None or message.sequence != numbers[0] + len(messages):
                lost = len(numbers) - len(messages)
                log.warning("%s: %d of %d messages were not whole", self._folder, lost, len(numbers))
                break
            messages.append(message)
        return messages

    def discard(self) -> None:
        """Delete all messages: nobody will ever want them."""
        self.forget_below(max(self._sequences(), default=-1) + 1)

    def close(self) -> None:
        """Release the folder, and delete it if it is empty. May be called twice."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):  # not empty
            self._folder.rmdir()
        os.close(self._lock)
        self._lock = None

    def _sequences(self) -> list[int]:
        return [int(name) for name in os.listdir(self._folder) if name.isdecimal()]


def find_leftovers(folder: Path, actor_id: str) -> list[Spool]:
    """The spools of earlier processes of this actor that left messages, oldest first.
    Raises SpoolError: a folder that cannot be read."""
    try:
        of_actor = [path for path in _of_actor(folder, actor_id).iterdir() if path.name.isdecimal()]
        folders = sorted(of_actor, key=lambda path: path.stat().st_mtime_ns)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _explain(error, folder) from error
    found: list[Spool] = []
    for path in folders:
        spool = Spool(folder, actor_id, int(path.name))
        if spool.is_ours and any(path.iterdir()):
            found.append(spool)
        else:
            spool.close()
    return found


def _of_actor(folder: Path, actor_id: str) -> Path:
    """The folder of an actor; any name of an actor can be one."""
    return folder / quote(actor_id, safe=" ").replace(".", "%2E")


def _read(path: Path, limits: Limits) -> Experience | Evaluation | None:
    data = path.read_bytes()
    frames: list[bytes] = []
    try:
        [count] = _COUNT.unpack_from(data)
        at = _COUNT.size * (1 + count)
        for size in struct.unpack_from(f"<{count}I", data, _COUNT.size):
            frames.append(data[at : at + size])
            at += size
        message = decode_from_client(frames, limits)
    except (struct.error, ProtocolError):
        return None
    return message if isinstance(message, Experience | Evaluation) else None


def _explain(error: OSError, folder: Path) -> SpoolError:
    return SpoolError(
        f"actor.spool={folder} cannot be used: {error.strerror}: "
        "name another folder, or turn the spool off with actor.spool=null"
    )
