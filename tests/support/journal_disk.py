"""A disk that loses power: it notes what a journal does to its folder, and says what could be left of that.

What was synced is there. Of what was written since, any blocks of 4096 bytes may be there and any missing; of
names added, changed and removed since the folder was synced, the first so many are.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

BLOCK_BYTES = 4096


class Disk:
    """Watches `folder` from now on; `log` may be given facts of the caller's, too."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[tuple[Any, ...]] = []
        self._before = {path.name: path.read_bytes() for path in folder.glob("*")}
        self._names: dict[int, str] = {}
        for module in ("journal_file", "journal_recovery"):
            monkeypatch.setattr(f"learner.replay.{module}.os", self)
            monkeypatch.setattr(f"learner.replay.{module}.sync_folder", self._sync_folder, raising=False)
        monkeypatch.setattr("learner.replay.journal.segments.sync_folder", self._sync_folder)
        monkeypatch.setattr(Path, "rename", lambda path, new: self._rename(path, new))
        monkeypatch.setattr(Path, "unlink", lambda path: self._unlink(path))

    def left(self, steps: int, rng: random.Random, *, power: bool) -> dict[str, bytes]:
        """Name -> content after the first `steps` of the log, if then the power went, or else if the process
        was killed in the midst of the last step."""
        now = {name: _File(content) for name, content in self._before.items()}
        kept, moves = dict(now), []
        for step in self.log[:steps]:
            match step:
                case ("open", name) if name not in now:
                    now[name] = _File(b"")
                    moves.append(dict(now))
                case ("write", name, place, data):
                    now[name].write(place, data)
                case ("truncate", name, size):
                    now[name].pending.append(size)
                case ("sync", name):
                    now[name].apply(lambda: True)
                case ("rename", name, new):
                    now[new] = now.pop(name)
                    moves.append(dict(now))
                case ("unlink", name):
                    del now[name]
                    moves.append(dict(now))
                case ("folder",):
                    kept, moves = dict(now), []
        if power:
            names = rng.choice([kept, *moves])
            share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
            for file in {id(file): file for file in names.values()}.values():
                file.apply(lambda: rng.random() < share)
            return {name: bytes(file.content) for name, file in names.items()}
        for file in now.values():
            if file.pending and rng.random() < 0.5:
                del file.pending[-rng.randint(1, 4) :]
            file.apply(lambda: True)
        return {name: bytes(file.content) for name, file in now.items()}

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags & ~os.O_DIRECT, mode)
        self._names[descriptor] = Path(path).name
        self.log.append(("open", Path(path).name))
        return descriptor

    def pwritev(self, descriptor: int, parts: list[memoryview], place: int) -> int:
        self.log.append(("write", self._names[descriptor], place, b"".join(parts)))
        return os.pwritev(descriptor, parts, place)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self.log.append(("truncate", self._names[descriptor], size))
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        self.log.append(("sync", self._names[descriptor]))

    fsync = fdatasync

    def _sync_folder(self, _: Path) -> None:
        self.log.append(("folder",))

    def _rename(self, path: Path, new: Path) -> None:
        self.log.append(("rename", path.name, new.name))
        self._names = {key: new.name if name == path.name else name for key, name in self._names.items()}
        os.rename(path, new)

    def _unlink(self, path: Path) -> None:
        self.log.append(("unlink", path.name))
        os.unlink(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class _File:
    """One file: what is surely there, and what was done to it since, in order."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.pending: list[tuple[int, bytes] | int] = []

    def write(self, place: int, data: bytes) -> None:
        self.pending += [
            (place + start, data[start : start + BLOCK_BYTES]) for start in range(0, len(data), BLOCK_BYTES)
        ]

    def apply(self, stays: Any) -> None:
        """Do what is pending, as far as `stays` says so each time it is asked."""
        for change in self.pending:
            if not stays():
                continue
            if isinstance(change, int):
                del self.content[change:]
                continue
            place, data = change
            self.content.extend(bytes(max(0, place - len(self.content))))
            self.content[place : place + len(data)] = data
        self.pending.clear()
