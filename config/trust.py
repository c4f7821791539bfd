"""Whether code that a policy or an encoder brings along may run: the key `trust_remote_code`.

Only the words of a command say so, on each host anew: a run's folder and a learner elsewhere do not count.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

UNTRUSTED = "trust_remote_code=false"
"""The word that comes before those of a command where a configuration is read from a run's folder."""

_TRUSTED = ContextVar("trust_remote_code", default=False)


@contextmanager
def trusting(trust_remote_code: bool) -> Generator[None]:
    """What is loaded meanwhile, by this thread, may bring code of its own or not."""
    before = _TRUSTED.set(trust_remote_code)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def is_trusted() -> bool:
    """False outside of `trusting`."""
    return _TRUSTED.get()
