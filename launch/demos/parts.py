"""Parts of a set of demonstrations on disk: each is whole or not there, and all together are merged.

A part is a folder with what ManiSkill recorded for a few seeds: planned.h5 and the same converted to state
observations, each with its json, and part.json. It is made under another name and renamed, so that a
planner that was stopped goes on with the parts that are missing.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py

from config.files import replace_text, replaced

SEEDS_PER_PART = 10
PLANNED = "planned"


def converted_name(control_mode: str) -> str:
    """What ManiSkill's replay calls a conversion of `planned.h5`."""
    return f"{PLANNED}.state.{control_mode}.physx_cpu"


@dataclass(frozen=True)
class Part:
    """One finished part: of `attempts` seeds, `successes` were solved and `converted` survived replay."""

    first_seed: int
    attempts: int
    successes: int
    converted: int


class Parts:
    """The parts of one task and control mode below `folder`."""

    def __init__(
        self, folder: Path, control_mode: str, first_seed: int, keep: str, noise: float = 0.0
    ) -> None:
        disturbed = f"-noise{noise:g}" if noise else ""
        self.folder = folder / "parts" / f"{control_mode}-{keep}{disturbed}"
        self._first_seed, self._keep = first_seed, keep
        self._converted = converted_name(control_mode)
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob("*.new"):
            shutil.rmtree(leftover)

    def first_seed_of(self, number: int) -> int:
        """Where part `number` begins."""
        return self._first_seed + number * SEEDS_PER_PART

    def path(self, number: int) -> Path:
        """The folder of part `number`, there or not."""
        return self.folder / f"seeds-{self.first_seed_of(number):08d}"

    def finished(self) -> list[Part]:
        """Parts 0, 1, ... up to the first one that is missing."""
        found: list[Part] = []
        while (place := self.path(len(found)) / "part.json").is_file():
            found.append(Part(**json.loads(place.read_text())))
        return found

    def merge(self, folder: Path, episodes: int) -> tuple[int, int]:
        """Write the first `episodes` demonstrations that survived their conversion, in the order of their
        seeds, to `folder` in ManiSkill's layout, and what was planned for them; returns how many were
        planned and how many of these converted."""
        places = [self.path(number) for number in range(len(self.finished()))]
        planned = [(place / f"{PLANNED}.h5", item) for place in places for item in _episodes(place, PLANNED)]
        converted = [
            (place / f"{self._converted}.h5", item)
            for place in places
            for item in _episodes(place, self._converted)
        ]
        if len(converted) > episodes:
            beyond = converted[episodes][1]["episode_seed"]
            planned, converted = (
                [(path, item) for path, item in found if item["episode_seed"] < beyond]
                for found in (planned, converted)
            )
        for name, chosen in ((PLANNED, planned), (self._converted, converted)):
            if chosen:
                _write(folder / f"{name}.h5", chosen)
        return len(planned), len(converted)


def finish_part(fresh: Path, place: Path, part: Part) -> None:
    """Declare the content of `fresh` a whole part."""
    (fresh / "part.json").write_text(json.dumps(asdict(part)) + "\n")
    fresh.rename(place)


def _episodes(place: Path, name: str) -> list[dict[str, Any]]:
    path = place / f"{name}.json"
    return json.loads(path.read_text())["episodes"] if path.is_file() else []


def _write(path: Path, chosen: list[tuple[Path, dict[str, Any]]]) -> None:
    """Copy episodes of many files into one, numbered from 0, with its json beside it."""
    header = json.loads(chosen[0][0].with_suffix(".json").read_text())
    items = []
    with replaced(path) as fresh:
        with h5py.File(fresh, "w", locking=False) as target:
            for number, (source, item) in enumerate(chosen):
                with h5py.File(source, "r", locking=False) as file:
                    file.copy(f"traj_{item['episode_id']}", target, name=f"traj_{number}")
                items.append(item | {"episode_id": number})
        replace_text(path.with_suffix(".json"), json.dumps(header | {"episodes": items}, indent=2) + "\n")
