"""What becomes of memory that was freed."""

from __future__ import annotations

import ctypes

# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 26
_LARGEST_BYTES = 1 << 25


def keep_freed_memory() -> None:
    """Let this process keep some freed memory for its next messages: fetched from the system each time, a
    message's costs as much as all else that is done to send it. Does nothing where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
