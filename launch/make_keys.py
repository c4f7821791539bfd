"""Makes the CURVE keys that are missing."""

import logging
from collections.abc import Sequence
from pathlib import Path

from config.process import UsageError
from protocol.channel.keys import (
    ALLOWED,
    LEARNER,
    LOCAL_ACTOR,
    KeyFileError,
    KeyPair,
    new_pair,
    read_pair,
    write_pair,
    write_private,
)

log = logging.getLogger(__name__)


def make_keys(keys_dir: Path, names: Sequence[str]) -> None:
    """Pairs for the learner, for the actors of its own host and for each name; existing ones stay."""
    allowed = keys_dir / ALLOWED
    for folder in (keys_dir, allowed):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    _pair(keys_dir, LEARNER)
    for name in (LOCAL_ACTOR, *(f"actor-{name}" for name in names)):
        pair = _pair(keys_dir, name)
        entry = allowed / f"{name}.public"
        if not entry.exists():
            write_private(entry, f"{pair.public}\n")


def _pair(keys_dir: Path, name: str) -> KeyPair:
    path = keys_dir / f"{name}.secret"
    if path.exists():
        log.info("%s stays as it is", path)
    else:
        write_pair(keys_dir, name, new_pair())
        log.info("made %s", path)
    return read_pair(path)


def make_keys_and_say(keys_dir: Path, names: Sequence[str]) -> None:
    """Make what is missing, and say what goes to which host.
    Raises UsageError: a file that is no key, or a folder that cannot be written."""
    try:
        make_keys(keys_dir, names)
    except KeyFileError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or keys_dir} cannot be written: {error.strerror}") from error
    for name in names:
        files = f"learner.public and actor-{name}.secret (mode 600)"
        log.info("to the host of %s, into %s: %s", name, keys_dir, files)
    log.info("start every process with wire.keys_dir=%s", keys_dir)
