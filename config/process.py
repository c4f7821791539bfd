"""What every entry point does first and last: log, stop on signals, and end with one of three exit codes."""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

DONE, FAILED, USAGE_ERROR = 0, 1, 2
"""Exit codes: all done; it failed; it cannot be started as asked. A signal gives 128 + its number."""

PLAIN = "%(message)s"
TIMED = "%(asctime)s %(message)s"


class UsageError(ValueError):
    """It cannot be started as asked; the message says in one line what, where and what to do."""


class FailedError(RuntimeError):
    """It was started and failed; the message says in one line why and what to do."""


class StopRequest(threading.Event):
    """Set by the first SIGINT, SIGTERM or SIGHUP that this process receives."""

    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """Of a process that this ended."""
        return 128 + (self.signal or 0)


def stop_on_signals() -> StopRequest:
    """Catch the signals from now on: none of them ends this process any more."""
    stop = StopRequest()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.signal = stop.signal or number
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup the end of the terminal is ignored, and stays so.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, ask_to_stop)
    return stop


def run_main(main: Callable[[list[str]], int | None], log_format: str | None = PLAIN) -> NoReturn:
    """Run an entry point's `main` with the command line's arguments and end this process.

    A UsageError is one line on stderr and exit code 2, a FailedError one line and exit code 1.
    Every other error is a defect and keeps its trace.

    Args:
        main: returns an exit code; None counts as done.
        log_format: of standard output; None: `main` sets logging up. Warnings go to standard error.
    """
    if log_format is not None:
        set_up_logging(log_format)
    try:
        sys.exit(main(sys.argv[1:]) or DONE)
    except UsageError as error:
        fail(error, USAGE_ERROR)
    except FailedError as error:
        fail(error, FAILED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def set_up_logging(log_format: str) -> None:
    """Reports to standard output, warnings and errors to standard error."""
    reports, troubles = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    reports.addFilter(lambda record: record.levelno < logging.WARNING)
    troubles.setLevel(logging.WARNING)
    troubles.setFormatter(
        _LowerLevel(log_format.replace("%(message)s", "%(levelname)s: %(message)s"), "%H:%M:%S")
    )
    logging.basicConfig(
        level=logging.INFO, format=log_format, datefmt="%H:%M:%S", handlers=[reports, troubles]
    )


class _LowerLevel(logging.Formatter):
    """With `warning: ` and `error: ` in front of the message, as `fail` has it."""

    def format(self, record: logging.LogRecord) -> str:
        named = logging.makeLogRecord(record.__dict__ | {"levelname": record.levelname.lower()})
        return super().format(named)


def fail(error: Exception, code: int) -> NoReturn:
    """End this process with the error in one line."""
    sys.stderr.write(f"error: {one_line(error)}\n")
    sys.exit(code)


def one_line(error: Exception) -> str:
    """An error's message; of Hydra's, without its search path and its advice to add keys with a plus."""
    lines = [line.strip() for line in str(error).splitlines()]
    if error.__cause__ is not None and type(error).__module__.startswith("hydra"):
        lines += [line for line in str(error.__cause__).splitlines()[:1] if line not in str(error)]
    noise = ("To append", "Config search path", "provider=", "See https")
    return " ".join(line for line in lines if line and not line.startswith(noise))


def wants_help(argv: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(argv)
