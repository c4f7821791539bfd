"""What every process of a run does first: read the configuration, log, and end on signals."""

from __future__ import annotations

import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from config.algo import refuse_removed_overrides
from config.main import Config, parse_config
from config.section import ConfigError

CONFIG_DIR = str(Path(__file__).resolve().parent)
USAGE_ERROR = 2


def compose_config(overrides: Sequence[str]) -> Config:
    """config/main.yaml with Hydra overrides, checked.

    Raises:
        ConfigError: in one line, naming the key.
    """
    refuse_removed_overrides(overrides)
    try:
        with initialize_config_dir(CONFIG_DIR, version_base=None):
            config = parse_config(compose("main", overrides=list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"configuration: {one_line(error)}") from error
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        raise ConfigError(f"configuration: name must be letters, digits and . _ - alone, got {config.name!r}")
    return config


def one_line(error: Exception) -> str:
    """What Hydra says over many lines, less its search path and its advice to add keys with a plus."""
    lines = [line.strip() for line in str(error).splitlines()]
    if error.__cause__ is not None:
        lines += [line for line in str(error.__cause__).splitlines()[:1] if line not in str(error)]
    noise = ("To append", "Config search path", "provider=", "See https")
    return " ".join(line for line in lines if line and not line.startswith(noise))


def wants_help(words: Sequence[str]) -> bool:
    """Whether the command line asks for help."""
    return bool({"-h", "--help"} & set(words))


def show_help(description: str) -> int:
    """Print what a script is and every key's default; returns the exit code."""
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        defaults = OmegaConf.to_yaml(compose("main"))
    how = "Defaults, any of which can be set with key=value (what each means: the files in config/):"
    sys.stdout.write(f"{description}\n{how}\n{defaults}")
    return 0


def main(
    description: str, run: Callable[[Config, threading.Event], None], *known_errors: type[Exception]
) -> None:
    """Run a process: overrides from the command line, `stop` set by SIGINT and SIGTERM.

    An error of `known_errors` ends it with one line on stderr and exit code 1, a wrong
    configuration with one line and exit code 2; anything else is a defect and keeps its trace.
    """
    words = sys.argv[1:]
    if wants_help(words):
        sys.exit(show_help(description))
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    try:
        run(compose_config(words), stop)
    except ConfigError as error:
        _exit(error, USAGE_ERROR)
    except known_errors as error:
        _exit(error, 1)


def _exit(error: Exception, code: int) -> None:
    sys.stderr.write(f"error: {one_line(error)}\n")
    sys.exit(code)
