"""A store that keeps which rows it was given, durably: the contract of the real one, in one file of lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protocol.messages import Columns

Key = tuple[str, int, int]
Row = tuple[str, int, int, int, int]
"""(actor id, session, sub-environment, episode, decision)"""


class RecordingStore:
    """Writes whole episodes; skips those that it has. Everything that comes is written as it comes, so
    that a row that came twice within an episode is there twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._committed: dict[Key, int] = {}
        self._open: dict[Key, dict[str, Any]] = {}
        self._lines: list[dict[str, Any]] = []
        self.skipped = 0
        _cut_torn_line(path)
        for line in read_lines(path):
            self._count(line)
        self._file = path.open("ab", buffering=0)

    def add(self, actor_id: str, session: int, columns: Columns) -> None:
        ended = columns["terminated"] | columns["truncated"]
        for row in range(len(ended)):
            sub_env, episode = int(columns["sub_env"][row]), int(columns["episode"][row])
            key = (actor_id, session, sub_env)
            if episode < self._committed.get(key, 0) or any(
                (line["key"], line["episode"]) == ([*key], episode) for line in self._lines
            ):
                self.skipped += 1
                continue
            fresh = {"key": [*key], "episode": episode, "rows": [], "cut": False}
            held = self._open.setdefault(key, fresh)
            if held["episode"] != episode:
                self._lines.append(held | {"cut": True})
                held = self._open[key] = fresh
            held["rows"].append([int(columns["decision"][row]), float(columns["observation"][row, 0, 0])])
            if ended[row]:
                self._lines.append(self._open.pop(key))

    def end_session(self, actor_id: str, session: int) -> None:
        for key in [key for key in self._open if key[:2] == (actor_id, session)]:
            self._lines.append(self._open.pop(key) | {"cut": True})

    def commit(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            os.fsync(self._file.fileno())
        for line in lines:
            self._count(line)

    def committed(self) -> dict[Key, int]:
        return dict(self._committed)

    def close(self) -> None:
        self.commit()
        self._file.close()

    def _count(self, line: dict[str, Any]) -> None:
        actor_id, session, sub_env = line["key"]
        key = (actor_id, session, sub_env)
        self._committed[key] = max(self._committed.get(key, 0), line["episode"] + 1)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The episodes in a store's file."""
    if path.exists():
        yield from map(json.loads, path.read_bytes().splitlines())


def read_rows(path: Path) -> Iterator[tuple[Row, float]]:
    """Every row in a store's file, and its first observation number."""
    for line in read_lines(path):
        for decision, value in line["rows"]:
            actor_id, session, sub_env = line["key"]
            yield (actor_id, session, sub_env, line["episode"], decision), value


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        os.truncate(path, len(whole) + len(newline))
