"""What every process of a run does first: read the configuration, log, and end on signals."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import hydra
from omegaconf import DictConfig

from config.schema import Config, ConfigError, parse_config

CONFIG_DIR = str(Path(__file__).parent)

log = logging.getLogger(__name__)


def main(run: Callable[[Config, threading.Event], None], *known_errors: type[Exception]) -> None:
    """Run a process: Hydra overrides from the command line, `stop` set by SIGINT and SIGTERM.

    An error of `known_errors` ends it with one line on stderr and exit code 1, a wrong
    configuration with one line and exit code 2; anything else is a defect and keeps its trace.
    """
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)

    @hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="main")
    def start(raw: DictConfig) -> None:
        try:
            run(parse_config(raw), stop)
        except ConfigError as error:
            _exit(error, 2)
        except known_errors as error:
            _exit(error, 1)

    start()


def _exit(error: Exception, code: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(code)
