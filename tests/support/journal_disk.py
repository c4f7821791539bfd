"""A disk that loses power: it notes what a journal does to its folder, and says what could be left of that.

What was synced is there. Of what was written since, any blocks of 4096 bytes may be there and any missing; of
names added, changed and removed since the folder was synced, the first so many are.
"""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learner.replay.journal.disk import Disk

BLOCK_BYTES = 4096


class FailingDisk(Disk):
    """Notes what is done to `folder` in `log`, which may be given facts of the caller's, too."""

    def __init__(self, folder: Path) -> None:
        self.log: list[tuple[Any, ...]] = []
        self._before = {path.name: path.read_bytes() for path in folder.glob("*")}
        self._names: dict[int, str] = {}

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

    def open(self, path: Path, flags: int) -> int:
        descriptor = super().open(path, flags & ~os.O_DIRECT)
        self._names[descriptor] = path.name
        self.log.append(("open", path.name))
        return descriptor

    def write(self, descriptor: int, parts: Sequence[memoryview], place: int) -> int:
        self.log.append(("write", self._names[descriptor], place, b"".join(parts)))
        return super().write(descriptor, parts, place)

    def sync(self, descriptor: int) -> None:
        self.log.append(("sync", self._names[descriptor]))

    def cut(self, path: Path, size: int) -> None:
        self.log += [("truncate", path.name, size), ("sync", path.name)]
        os.truncate(path, size)

    def sync_folder(self, folder: Path) -> None:
        self.log.append(("folder",))

    def rename(self, path: Path, new: Path) -> None:
        self.log.append(("rename", path.name, new.name))
        self._names = {key: new.name if name == path.name else name for key, name in self._names.items()}
        super().rename(path, new)

    def delete(self, path: Path) -> None:
        self.log.append(("unlink", path.name))
        super().delete(path)


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
