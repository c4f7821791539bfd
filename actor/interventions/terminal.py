"""A terminal in which each key counts at once: over SSH too, and without a screen."""

import contextlib
import os
import re
import termios
import tty
from typing import Any, Self

from actor.interventions.error import InterventionError

OWN = "/dev/tty"
# What terminals send for keys that are no character.
_NAMED = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1bOA": "up", "\x1bOB": "down",
    "\x1bOC": "right", "\x1bOD": "left", "\x1b[5~": "pageup", "\x1b[6~": "pagedown", "\r": "enter",
    "\n": "enter", "\x7f": "backspace", "\x08": "backspace", " ": "space",
}  # fmt: skip
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|[^\x1b]")
_MOST_BYTES = 1024


class Terminal:
    """Reads keys without waiting. A context manager: the terminal is left as it was."""

    def __init__(self, path: str = OWN) -> None:
        """Raises InterventionError: this process has no terminal."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            self._before: list[Any] = termios.tcgetattr(self._file)
        except (OSError, termios.error) as error:
            raise InterventionError(
                "actor.intervene=keyboard needs a terminal of its own, and this process has none: start "
                "residual-rl actor tcp://HOST:PORT actor.intervene=keyboard in one"
            ) from error
        # Ctrl-C still interrupts.
        tty.setcbreak(self._file, termios.TCSANOW)
        self.gone = False
        """Whether it was closed, as where a connection breaks."""

    def pressed(self) -> list[str]:
        """Names of the keys pressed since the last call, in order."""
        if self.gone:
            return []
        try:
            read = os.read(self._file, _MOST_BYTES)
            self.gone = not read
        except BlockingIOError:
            return []
        except OSError:
            read, self.gone = b"", True
        found: list[str] = _SEQUENCE.findall(read.decode(errors="ignore"))
        named = (_NAMED.get(each, each) for each in found)
        return [name for name in named if not name.startswith("\x1b")]

    def say(self, text: str) -> None:
        """Show one line in place of the last one."""
        if not self.gone:
            try:
                os.write(self._file, f"\r\x1b[K{text}".encode())
            except BlockingIOError:
                pass  # it shows no more than it can
            except OSError:
                self.gone = True

    def close(self) -> None:
        """Leave the terminal as it was; may be called once."""
        try:
            self.say("\n")
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(self._file, termios.TCSANOW, self._before)
        finally:
            os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
