"""What is in a dataset, in words, as far as it can be read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from learner.replay.dataset.format.layout import ORIGIN_PATH
from learner.replay.dataset.read import BrokenError, read_features, read_info, read_json
from learner.replay.tools.outcomes import EpisodeOutcome, read_outcomes

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Facts:
    rows: dict[str, str]
    columns: list[tuple[str, str, str]]
    """Name, type and shape of each feature."""
    troubles: list[str]
    """Why something is unknown."""


def describe(folder: Path) -> Facts:
    """Raises VersionError: a dataset of another version."""
    troubles: list[str] = []

    def read[T](read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except BrokenError as error:
            troubles.append(str(error))
            return otherwise

    info = read(lambda: read_info(folder), {})
    outcomes = read(lambda: read_outcomes(folder), []) if info else []
    rows = _rows(info, outcomes) | {"on disk": _size(folder)}
    if (folder / ORIGIN_PATH).exists():
        rows |= _origin(read(lambda: read_json(folder, ORIGIN_PATH), {}), outcomes)
    return Facts(rows, _columns(info), troubles)


def _rows(info: dict[str, Any], outcomes: list[EpisodeOutcome]) -> dict[str, str]:
    known = [outcome.success for outcome in outcomes if outcome.success is not None]
    lengths = [outcome.frames for outcome in outcomes]
    mean = sum(lengths) / max(1, len(lengths))
    return {
        "episodes": _count(info, "total_episodes"),
        "frames": _count(info, "total_frames"),
        "frames an episode": f"{min(lengths)} .. {max(lengths)}, mean {mean:.1f}" if lengths else UNKNOWN,
        "success": f"{100 * sum(known) / len(known):.1f} %" if known else "not recorded",
        "frames a second": str(info.get("fps", UNKNOWN)),
        "robot": str(info.get("robot_type", UNKNOWN)),
    }


def _count(info: dict[str, Any], key: str) -> str:
    count = info.get(key)
    return f"{count:,}" if isinstance(count, int) else UNKNOWN


def _size(folder: Path) -> str:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:,.1f} MB in {len(files)} files"


def _origin(origin: dict[str, Any], outcomes: list[EpisodeOutcome]) -> dict[str, str]:
    """What a run adds."""
    versions = [outcome.version for outcome in outcomes if outcome.version is not None]
    return {
        "task": str(origin.get("task", UNKNOWN)),
        "actors": ", ".join(map(str, origin.get("actors", [UNKNOWN]))),
        "weights versions": f"{min(versions)} .. {max(versions)}" if versions else UNKNOWN,
    }


def _columns(info: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = (read_features(info) or {}).items()
    return [(name, str(each.get("dtype", UNKNOWN)), _shape(each.get("shape"))) for name, each in rows]


def _shape(shape: Any) -> str:
    return " x ".join(map(str, cast("list[Any]", shape))) if isinstance(shape, list) else UNKNOWN
