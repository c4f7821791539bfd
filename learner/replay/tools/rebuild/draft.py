"""The next version of a dataset, while it is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from learner.replay.dataset.arrow import is_whole
from learner.replay.dataset.format.layout import INFO_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import read_features, read_info
from learner.replay.dataset.swap import StagedFolder
from learner.replay.tools.description import read_episodes
from learner.replay.tools.lerobot_reader import NotReadError

COUNTS = ("total_episodes", "total_frames", "total_tasks")


class Draft:
    """Its files, its info.json (`info`, written at the end), the table of episodes that it had (`old`; None:
    it cannot be read), the names of the files that are new (`written`), and a line for each that is left out
    (`dropped`)."""

    def __init__(self, staged: StagedFolder) -> None:
        """Raises DatasetError: its info.json cannot be read."""
        self._staged, self.root = staged, staged.root
        self.info = read_info(self.root)
        self.old = _read_old(self.root)
        self.written: list[str] = []
        self.dropped: list[str] = []

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """Of info.json, to be changed. Raises DatasetError: there are none."""
        if self.info.get("features") != {} and read_features(self.info) is None:
            raise DatasetError(f"{INFO_PATH} lists no features")
        return self.info["features"]

    def name_of(self, path: Path) -> str:
        """A file's name, as messages and lists have it."""
        return str(path.relative_to(self.root))

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make the file `name`."""
        self._staged.write(name, write)
        self.written.append(name)

    def write_table(self, name: str, table: pa.Table) -> None:
        self._staged.write_table(name, table)
        self.written.append(name)

    def write_json(self, name: str, value: object) -> None:
        self._staged.write_json(name, value)
        self.written.append(name)

    def remove(self, path: Path) -> None:
        self._staged.remove(self.name_of(path))

    def drop(self, path: Path, reason: str) -> None:
        """Leave a file out, and say so."""
        self.remove(path)
        self.dropped.append(f"{self.name_of(path)}: {reason}")


def _read_old(root: Path) -> pa.Table | None:
    """Without its episode_index where these are no whole numbers."""
    try:
        old = read_episodes(root)
        if old is not None:
            old.validate(full=True)
    except (NotReadError, pa.ArrowInvalid):
        return None
    if old is None or "episode_index" not in old.column_names or is_whole(old, "episode_index"):
        return old
    return old.drop_columns(["episode_index"])
