"""Whether a process is opening a dataset, so that no file is removed meanwhile.

LeRobot's reader lists a dataset's files and then opens one after the other, for seconds. inotify tells of
readers on this machine. For a reader on another host, or one that opens videos for as long as it trains, a
person sets the modification time of the file `<folder>.hold`: no file is removed before that time.
"""

import ctypes
import io
import logging
import os
import struct
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)

# A reader converts up to 100 MB between the opening of one file and the next: 2.6 s were seen.
QUIET_S = 10.0
# A reader that never stops opening must not keep files for ever: removals are put off for this long,
MAX_POSTPONE_S = 300.0
# and a writer that is ready to remove files waits for this long for a reader that came meanwhile.
MAX_WAIT_S = 60.0
_POLL_S = 0.05

_ACCESS, _CLOSE_NOWRITE, _OPEN = 0x1, 0x10, 0x20
_IGNORED, _ONLY_A_FOLDER, _A_FOLDER = 0x8000, 0x0100_0000, 0x4000_0000
_EVENT = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class ReaderWatch:
    """Notices processes of this machine that open or read `folder`'s files of frames or descriptions.

    Sees no readers on other hosts, and none at all where the kernel has no inotify left: see `on_hold`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: io.FileIO | None = None
        self._last_s = -float("inf")
        self._busy_since_s: float | None = None
        self._hold = folder.with_name(f"{folder.name}.hold")
        self._announced: float | None = None
        self.restart()

    def restart(self) -> None:
        """Watch the folder's present version; call after each swap."""
        self._look()
        self._events = None  # closes it, and with it what it watched
        descriptor = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if descriptor < 0:
            reason = os.strerror(ctypes.get_errno())
            log.debug("cannot notice readers of %s: %s", self._folder, reason)
            return
        self._events = io.FileIO(descriptor, "rb")
        for pattern in ("meta", "meta/episodes/*", "data/*"):
            for place in self._folder.glob(pattern):
                mask = _OPEN | _ACCESS | _CLOSE_NOWRITE | _ONLY_A_FOLDER
                _LIBC.inotify_add_watch(descriptor, os.fsencode(place), mask)

    def on_hold(self) -> bool:
        """Whether a person asked to keep all files for now: `touch -d '+2 hours' <folder>.hold`."""
        try:
            until_s = self._hold.stat().st_mtime
        except FileNotFoundError:
            return False
        if until_s <= time.time():
            return False
        if until_s != self._announced:
            self._announced = until_s
            log.warning(
                "%s: no file is removed until %s, even above the limit", self._hold, time.ctime(until_s)
            )
        return True

    def busy(self) -> bool:
        """Whether removing files should wait: they are `on_hold`, or a reader opened or read one within
        QUIET_S; for MAX_POSTPONE_S at most."""
        if self.on_hold():
            return True
        if not self._active():
            self._busy_since_s = None
            return False
        if self._busy_since_s is None:
            self._busy_since_s = time.monotonic()
        return time.monotonic() - self._busy_since_s < MAX_POSTPONE_S

    def wait(self, hurry: threading.Event) -> None:
        """Return when no file was opened or read for QUIET_S, after MAX_WAIT_S at the latest, or when `hurry`
        is set."""
        until_s = time.monotonic() + MAX_WAIT_S
        while self._active() and time.monotonic() < until_s and not hurry.wait(_POLL_S):
            pass

    def _active(self) -> bool:
        self._look()
        return time.monotonic() - self._last_s < QUIET_S

    def _look(self) -> None:
        """Remember the time if something was read since the last look."""
        while self._events is not None and (read := self._events.read(1 << 16)):
            # The writer lists folders as well.
            if any(not mask & (_A_FOLDER | _IGNORED) for mask in _masks(read)):
                self._last_s = time.monotonic()


def _masks(read: bytes) -> list[int]:
    masks: list[int] = []
    at = 0
    while at < len(read):
        _, mask, _, name = _EVENT.unpack_from(read, at)
        masks.append(mask)
        at += _EVENT.size + name
    return masks
