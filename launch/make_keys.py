"""Makes the keys that are missing: python -m launch.make_keys [--dir keys] [NAME ...]"""

import argparse
import logging
import re
from pathlib import Path

from config.process import run_main
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


def make_keys(keys_dir: Path, names: list[str]) -> None:
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


def _name(text: str) -> str:
    name = text.removeprefix("actor-")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,50}", name):
        raise argparse.ArgumentTypeError(f"{text!r}: use letters, digits, dot, dash and underscore")
    return name


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bash launch/keys.sh", description=__doc__)
    parser.add_argument("names", nargs="*", type=_name, help="hosts or actors that get a pair of their own")
    parser.add_argument("--dir", type=Path, default=Path("keys"), help="the folder (default: keys)")
    args = parser.parse_args(argv)
    make_keys(args.dir, args.names)
    for name in args.names:
        files = f"learner.public and actor-{name}.secret (mode 600)"
        log.info("to the host of %s, into %s: %s", name, args.dir, files)
    log.info("start every process with wire.keys_dir=%s", args.dir)
    return 0


if __name__ == "__main__":
    run_main(main, KeyFileError, OSError, log_format="keys | %(message)s")
