"""What every entry point does first and last: log, stop on signals, and end with one of three exit codes."""

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, TextIO

from config.streams import OutputError, open_streams

DONE, FAILED, USAGE_ERROR = 0, 1, 2
"""Exit codes: all done; it failed; it cannot be started as asked. A signal gives 128 + its number."""

PLAIN = "%(message)s"
TIMED = "%(asctime)s %(message)s"

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


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


def die_with_parent(parent: int, number: int) -> None:
    """In a child, before its program starts: let it get the signal `number` when the process `parent` ends,
    however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before prctl was called
        os.kill(os.getpid(), number)


def end_on_interrupt() -> None:
    """Let Ctrl-C end this process at once and without a trace, until `stop_on_signals` or `run_main`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_main(main: Callable[[list[str]], int | None], log_format: str | None = PLAIN) -> NoReturn:
    """Run an entry point's `main` with the command line's arguments and end this process.

    A UsageError is one line on stderr and exit code 2, a FailedError one line and exit code 1.
    Every other error is a defect and keeps its trace. Standard output that is closed or full is no defect:
    the exit code is not 0.

    Args:
        main: returns an exit code; None counts as done.
        log_format: of standard output; None: `main` sets logging up. Warnings go to standard error.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    plain, output = sys.stdout, open_streams()
    try:
        code = USAGE_ERROR if output.failure is not None else _exit_code(main, log_format)
        if (failure := output.finish()) is not None:
            _say(f"standard output cannot be written: {failure.strerror}")
        sys.exit(code if output.failure is None else code or FAILED)
    finally:
        sys.stdout = plain


def _exit_code(main: Callable[[list[str]], int | None], log_format: str | None) -> int:
    try:
        if log_format is not None:
            set_up_logging(log_format)
        return main(sys.argv[1:]) or DONE
    except UsageError as error:
        _say(one_line(error))
        return USAGE_ERROR
    except FailedError as error:
        _say(one_line(error))
        return FAILED
    except OutputError:
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _say(text: str) -> None:
    """One line on standard error."""
    with contextlib.suppress(OSError):  # the exit code says it as well
        sys.stderr.write(f"error: {text}\n")


class _Lines(logging.StreamHandler[TextIO]):
    """A line that cannot be written is lost: `run_main` says at the end that there were some."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError | OutputError):
            super().handleError(record)


def set_up_logging(log_format: str) -> None:
    """Reports to standard output, warnings and errors to standard error."""
    reports, troubles = _Lines(sys.stdout), _Lines(sys.stderr)
    reports.addFilter(lambda record: record.levelno < logging.WARNING)
    troubles.setLevel(logging.WARNING)
    troubles.setFormatter(
        _LowerLevel(log_format.replace("%(message)s", "%(levelname)s: %(message)s"), "%H:%M:%S")
    )
    logging.basicConfig(
        level=logging.INFO, format=log_format, datefmt="%H:%M:%S", handlers=[reports, troubles]
    )


class _LowerLevel(logging.Formatter):
    """With `warning: ` and `error: ` in front of the message, as an error at the end has it."""

    def format(self, record: logging.LogRecord) -> str:
        named = logging.makeLogRecord(record.__dict__ | {"levelname": record.levelname.lower()})
        return super().format(named)


def one_line(error: Exception) -> str:
    """An error's message; of Hydra's, without its search path and its advice to add keys with a plus."""
    lines = [line.strip() for line in str(error).splitlines()]
    if error.__cause__ is not None and type(error).__module__.startswith("hydra"):
        lines += [line for line in str(error.__cause__).splitlines()[:1] if line not in str(error)]
    noise = ("To append", "Config search path", "provider=", "See https")
    return " ".join(line for line in lines if line and not line.startswith(noise))


def wants_help(argv: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(argv)
