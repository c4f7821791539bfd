"""The lines of processes on other nodes, as the launcher keeps and shows them. Imports no Ray."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO


class Logs:
    """What processes wrote, into a file for each and to whoever watches."""

    def __init__(self, folder: Path, echo: Callable[[str, str], None]) -> None:
        self._folder, self._echo = folder, echo
        self._files: dict[str, BinaryIO] = {}

    def show(self, name: str, lines: Sequence[str]) -> None:
        for line in lines:
            with contextlib.suppress(OSError):  # where the disk is full, lines are still shown
                self._file(name).write(f"{line}\n".encode())
            self._echo(name, line)

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self._folder / f"{name}.log").open("ab", buffering=0)
        return self._files[name]

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
