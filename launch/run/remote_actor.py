"""One actor for a learner on another host, which tells it task, base and algo.

    bash launch/actor.sh tcp://HOST:5588 [--keys FOLDER] [key=value ...]

    tcp://HOST:PORT    the learner's experience port; its weights port is the next one, unless
                       wire.weights_port=... says otherwise
    --keys FOLDER      learner.public and this host's actor-NAME.secret

This host gives actor.*, wire.*, base.path, base.native and base.cuda_graph. The actor's name is this host's;
a second actor here needs actor.id=... and actor.index=... of its own.
"""

import argparse
from pathlib import Path

from config.compose import show_help
from config.process import TIMED, UsageError, run_main, stop_on_signals, wants_help


def main(argv: list[str]) -> int:
    """Returns when the run is over, or at a signal."""
    if wants_help(argv):
        return show_help(__doc__ or "")
    stop = stop_on_signals()
    # Imported here: each simulator process imports this module, and needs nothing of it.
    from actor.remote import run_remote_actor

    run_remote_actor(*parse_words(argv), stop)
    return 0


def parse_words(argv: list[str]) -> tuple[str, Path | None, list[str]]:
    """The learner's address, the folder with keys, and overrides. Raises UsageError."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--keys", type=Path)
    try:
        options, words = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UsageError(f"command line: {error}") from error
    if not words:
        raise UsageError("the learner's address is missing: write tcp://HOST:PORT")
    return words[0], options.keys, words[1:]


if __name__ == "__main__":
    from actor.loop import KNOWN_ERRORS

    run_main(main, *KNOWN_ERRORS, log_format=TIMED)
