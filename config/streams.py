"""Standard streams of a process: any of them may be closed, full, or without a reader."""

import contextlib
import errno
import os
import sys
from collections.abc import Generator
from typing import Any, TextIO, cast


class OutputError(RuntimeError):
    """Standard output cannot be written."""


class Output:
    """Standard output that raises OutputError where it cannot be written, and remembers why.

    Attributes:
        failure: the newest error; None: everything was written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        with self._checked():
            # A file's name need not be UTF-8.
            return self._stream.write(text.encode("utf-8", "backslashreplace").decode())

    def flush(self) -> None:
        with self._checked():
            self._stream.flush()

    def finish(self) -> OSError | None:
        """Write the rest; returns what failed. Afterwards the interpreter has nothing left that can fail."""
        with contextlib.suppress(OutputError):
            self.flush()
        if self.failure is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return None if self.failure is None or self.failure.errno == errno.EPIPE else self.failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _checked(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            raise OutputError(error.strerror) from error


def open_streams() -> Output:
    """Standard output, from now on checked. No file that is opened later gets the number of a standard stream
    that is closed: what libraries print there would land in it."""
    closed = [number for number in range(3) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: one of these
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    output = Output(sys.stdout or open(os.devnull, "w"))  # noqa: SIM115
    if 1 in closed:
        output.failure = OSError(errno.EBADF, "it is closed: give it a file, or /dev/null")
    sys.stdout = cast(TextIO, output)
    return output


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
