"""Files as an ordinary user meets them: root may read and write whatever the modes say."""

import contextlib
import ctypes
from collections.abc import Callable, Generator

_VERSION, _OF_THIS_THREAD = 0x20080522, 0
# Of linux/capability.h: reading and writing, searching folders, and changes of modes, against the modes.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def ordinary_user() -> Generator[None]:
    """During the block the modes of files count for this thread and for threads that it starts."""
    header = (ctypes.c_uint32 * 2)(_VERSION, _OF_THIS_THREAD)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    _call(_LIBC.capget, header, sets)
    before = sets[0]
    sets[0] = before & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    _call(_LIBC.capset, header, sets)
    try:
        yield
    finally:
        sets[0] = before
        _call(_LIBC.capset, header, sets)


def _call(function: Callable[..., int], *args: object) -> None:
    if function(*args) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities of this thread cannot be changed")
