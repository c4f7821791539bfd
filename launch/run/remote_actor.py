"""One actor for a learner on another host.

    bash launch/actor.sh learner=tcp://HOST:5588 [keys=FOLDER] [key=value ...]

    learner=tcp://HOST:PORT   the learner's experience port; its weights port is the one above, unless
                              wire.weights_port=... says otherwise
    keys=FOLDER               learner.public and this host's actor-NAME.secret

Everything else goes to `python -m actor`: give it the learner's overrides, so that both agree on task and
base. Its name is this host's; a second actor here needs actor.id=... and actor.index=... of its own.
"""

import os
import re
import socket
import sys
import zlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from config.compose import show_help
from config.process import UsageError, run_main, wants_help

# An actor on another host gets its index from the host's name, above the indices of the learner's own actors.
FIRST_INDEX, INDICES = 100, 100_000


def make_overrides(argv: Sequence[str], host_name: str) -> list[str]:
    """What `python -m actor` is told. Raises UsageError: no `learner=`, or one that is no address."""
    given = dict(word.split("=", 1) for word in argv if "=" in word)
    if "learner" not in given:
        raise UsageError("learner=tcp://HOST:PORT is missing")
    host, port = parse_address(given["learner"])
    overrides = [f"wire.host={host}", f"wire.experience_port={port}"]
    if "wire.weights_port" not in given:
        overrides.append(f"wire.weights_port={port + 1}")
    if "keys" in given:
        # An actor starts in the repository, whatever folder this was called from.
        overrides.append(f"wire.keys_dir={os.path.abspath(given['keys'])}")
    if not {"actor.spool", "name"} & given.keys():
        # A run's name is new at every start; this folder is found again.
        overrides.append(f"actor.spool=runs/spools/{re.sub('[^A-Za-z0-9.]', '-', host)}-{port}")
    plain_name = re.sub(r"[^A-Za-z0-9._-]", "-", host_name) or "host"
    if "actor.id" not in given:
        overrides.append(f"actor.id=actor-{plain_name}")
    if "actor.count" not in given:
        overrides.append("actor.count=1")  # alone on its host: its simulators may have all processors but one
    if "actor.index" not in given:
        overrides.append(f"actor.index={FIRST_INDEX + zlib.crc32(plain_name.encode()) % INDICES}")
    return overrides + [word for word in argv if not word.startswith(("learner=", "keys="))]


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of tcp://HOST:PORT. Raises UsageError for anything else."""
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or not parts.hostname or port is None or parts.path:
        raise UsageError(f"learner={text} is no address: write learner=tcp://HOST:PORT")
    return parts.hostname, port


def main(argv: list[str]) -> int:
    """Becomes the actor's process; returns only for help."""
    if wants_help(argv):
        return show_help(__doc__ or "")
    overrides = make_overrides(argv, socket.gethostname())
    return os.execv(sys.executable, [sys.executable, "-m", "actor", *overrides])


if __name__ == "__main__":
    run_main(main)
