"""Keeps freed memory in the process, which saves page faults."""

import ctypes

# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 26
_LARGEST_BYTES = 1 << 25


def keep_freed_memory() -> None:
    """Let this process keep some freed memory for its next messages: to fetch it from the system each time
    costs nearly as much as all else that an actor does to send one. Without glibc, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BYTES)
