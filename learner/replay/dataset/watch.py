"""Whether somebody is just opening a dataset, so that its files do not go in between.

LeRobot's reader lists a dataset's files and then opens one after the other, for seconds, by names that a
generation without them does not have. Nobody asks it to say so; the kernel tells who looks. Whom it cannot
see, on another host, or who opens videos for as long as it trains, may say so: files stay until the time of
the file `<folder>.hold`.
"""

from __future__ import annotations

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
# Somebody who never stops opening must not keep files for ever: so long they stay, while the dataset goes on;
PATIENCE_S = 300.0
# and so long a writer stands still that has made what comes next, for somebody who came meanwhile.
STANDSTILL_S = 60.0
_POLL_S = 0.05

_ACCESS, _CLOSE_NOWRITE, _OPEN = 0x1, 0x10, 0x20
_IGNORED, _ONLY_A_FOLDER, _A_FOLDER = 0x8000, 0x0100_0000, 0x4000_0000
_EVENT = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Readers:
    """Notices on this machine who opens or reads a file of frames or a description of `folder`.

    Sees nothing of readers on other hosts, and nobody where the kernel has no inotify to give: see `held`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: io.FileIO | None = None
        self._last_s = -float("inf")
        self._busy_since_s: float | None = None
        self._hold = folder.with_name(f"{folder.name}.hold")
        self._told: float | None = None
        self.follow()

    def follow(self) -> None:
        """Look at the folder as it stands now: after each exchange, since it is another one then."""
        self._look()
        self._events = None  # closes it, and with it what it watched
        descriptor = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if descriptor < 0:
            reason = os.strerror(ctypes.get_errno())
            log.debug("readers of %s cannot be noticed: %s", self._folder, reason)
            return
        self._events = io.FileIO(descriptor, "rb")
        for pattern in ("meta", "meta/episodes/*", "data/*"):
            for place in self._folder.glob(pattern):
                mask = _OPEN | _ACCESS | _CLOSE_NOWRITE | _ONLY_A_FOLDER
                _LIBC.inotify_add_watch(descriptor, os.fsencode(place), mask)

    def held(self) -> bool:
        """Whether somebody asked that no file goes now: `touch -d '+2 hours' <folder>.hold`."""
        try:
            until_s = self._hold.stat().st_mtime
        except FileNotFoundError:
            return False
        if until_s <= time.time():
            return False
        if until_s != self._told:
            self._told = until_s
            log.warning("%s: files stay until %s, whatever the limit", self._hold, time.ctime(until_s))
        return True

    def busy(self) -> bool:
        """Whether files should stay: they are `held`, or somebody has opened or read one within QUIET_S, for
        PATIENCE_S at most."""
        if self.held():
            return True
        if not self._active():
            self._busy_since_s = None
            return False
        if self._busy_since_s is None:
            self._busy_since_s = time.monotonic()
        return time.monotonic() - self._busy_since_s < PATIENCE_S

    def wait(self, hurry: threading.Event) -> None:
        """Return when nobody has opened or read a file for QUIET_S, after STANDSTILL_S at the latest, or when
        `hurry` is set."""
        until_s = time.monotonic() + STANDSTILL_S
        while self._active() and time.monotonic() < until_s and not hurry.wait(_POLL_S):
            pass

    def _active(self) -> bool:
        self._look()
        return time.monotonic() - self._last_s < QUIET_S

    def _look(self) -> None:
        """Remember now if there was something since the last look."""
        while self._events is not None and (read := self._events.read(1 << 16)):
            if any(_is_reading(mask) for mask in _masks(read)):
                self._last_s = time.monotonic()


def _is_reading(mask: int) -> bool:
    """Folders are listed by the writer as well."""
    return not mask & (_A_FOLDER | _IGNORED)


def _masks(read: bytes) -> list[int]:
    masks, at = [], 0
    while at < len(read):
        _, mask, _, name = _EVENT.unpack_from(read, at)
        masks.append(mask)
        at += _EVENT.size + name
    return masks
