"""What a run's folder says. It may be empty, half written, damaged, or of an older release."""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from launch.run.folder import MetricsReader, Point
from launch.show.film_list import FOLDER, caption, read_index
from launch.show.settings import read_settings
from learner.intervals import wilson_interval
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import BrokenError, open_snapshot
from learner.replay.tools.outcomes import EpisodeOutcome, read_outcomes

# Kinds of algo that train the base.
TRAINS_BASE = ("sft", "rejection_sampling")
# Files of a folder that was copied are this close to each other.
_COPIED_NS = 10 * 10**9


@dataclass(frozen=True)
class Evaluated:
    """One evaluation, at what the run had come to when the weights evaluated were published."""

    policy: str
    """base or full."""
    rate: float
    episodes: int
    frames: float
    minutes: float
    updates: float
    version: int | None

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson."""
        return wilson_interval(self.rate, self.episodes)


@dataclass
class Record:
    """All that is known of a run. What is missing is empty, and said in `problems`."""

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    points: Sequence[Point] = ()
    """Those of training, without what was not measured."""
    evaluations: Sequence[Evaluated] = ()
    films: Mapping[str, str] = field(default_factory=dict)
    """Name below videos/ -> what it shows."""
    last_word_unix: float | None = None
    problems: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def base(self) -> Evaluated | None:
        return next((each for each in reversed(self.evaluations) if each.policy == "base"), None)

    @property
    def full(self) -> list[Evaluated]:
        return [each for each in self.evaluations if each.policy == "full"]

    def newest(self, key: str) -> Any:
        """The newest value of a figure; None where there is none."""
        return next((point[key] for point in reversed(self.points) if key in point), None)

    @property
    def trains_base(self) -> bool:
        """Whether there is no residual: the base itself is trained."""
        algo = self.settings.get("algo")
        return isinstance(algo, Mapping) and algo.get("kind") in TRAINS_BASE

    @property
    def collects(self) -> bool:
        """Whether nothing is trained: episodes are collected."""
        algo = self.settings.get("algo")
        return isinstance(algo, Mapping) and algo.get("kind") == "collect"

    @property
    def trained(self) -> str:
        """What the evaluations of "full" are of, in words."""
        return "trained base" if self.trains_base else "base + residual"

    @property
    def is_over(self) -> bool:
        return bool(self.summary)


class RecordReader:
    """Reads a run's folder again and again; of metrics.jsonl only what is new."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir
        self._begin()

    def _begin(self) -> None:
        self._metrics, self._size = MetricsReader(self._folder), 0
        self._points: list[Point] = []
        self._evaluations: list[Evaluated] = []

    def stamp(self) -> tuple[object, ...]:
        """Changes whenever there may be something new."""
        names = ("metrics.jsonl", "status.json", "summary.json", "machine.json", "config.yaml", "videos")
        return tuple(_modified_ns(self._folder / name) for name in names)

    def read(self) -> Record:
        size = _size(self._metrics.path)
        if size < self._size:
            self._begin()  # the run began anew
        self._size = size
        problems = list[str]()
        try:
            for point in self._metrics.read_good():
                self._add({key: value for key, value in point.items() if value is not None})
        except OSError as error:
            problems.append(f"metrics.jsonl cannot be read: {error.strerror}")
        problems += self._problems()
        described = {name: self._json(f"{name}.json", problems) for name in ("machine", "status", "summary")}
        settings = read_settings(self._folder)
        if not settings.keys() >= {"learner", "task", "base", "algo"}:
            problems.append("config.yaml is missing or damaged: the settings are not known")
        return Record(
            folder=self._folder,
            settings=settings,
            machine=described["machine"],
            status=described["status"],
            summary=described["summary"] if self._has_ended() else {},
            points=tuple(self._points),
            evaluations=tuple(self._evaluations),
            films=_films(self._folder / FOLDER),
            last_word_unix=(ns / 1e9) if (ns := _modified_ns(self._folder / "metrics.jsonl")) else None,
            problems=problems,
        )

    def _add(self, point: Point) -> None:
        evaluations = list(_evaluations(point))
        self._evaluations += evaluations
        if not evaluations:
            self._points.append(point)
        elif "eval_version" not in point:
            self._points.append({key: value for key, value in point.items() if key[:8] != "success_"})

    def _problems(self) -> Iterator[str]:
        if not self._folder.is_dir():
            yield f"the folder {self._folder} is gone"
        elif not self._metrics.path.is_file():
            yield "metrics.jsonl is missing: nothing was measured yet"
        elif not self._points:
            yield "metrics.jsonl has no point yet"
        if self._metrics.damaged:
            yield f"metrics.jsonl has damaged lines, which are left out: {len(self._metrics.damaged)}"
        if not self._evaluations:
            yield "no evaluation yet: success is not known"

    def _json(self, name: str, problems: list[str]) -> Mapping[str, Any]:
        """A JSON object; empty where the file is missing, or damaged, which is added to `problems`."""
        try:
            content = json.loads((self._folder / name).read_text())
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{name} is damaged: {error}")
            return {}
        return content

    def _has_ended(self) -> bool:
        """Whether the summary is not that of an earlier end: the run has gone on since then."""
        summary, metrics = (
            _modified_ns(self._folder / name) or 0 for name in ("summary.json", "metrics.jsonl")
        )
        return summary >= metrics - _COPIED_NS


def _films(folder: Path) -> dict[str, str]:
    """Those that are listed first, in the order of the list."""
    there = sorted(path.name for path in folder.glob("*.mp4"))
    listed = {film["file"]: caption(film) for film in read_index(folder) if film["file"] in there}
    return listed | {name: "" for name in there if name not in listed}


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _evaluations(point: Point) -> Iterator[Evaluated]:
    for policy in ("base", "full"):
        rate, episodes = point.get(f"success_{policy}"), point.get("eval_episodes")
        if is_number(rate) and is_number(episodes) and 0 <= rate <= 1 and episodes >= 1:
            yield Evaluated(
                policy,
                rate,
                int(episodes),
                frames=_number(point, "frames"),
                minutes=_number(point, "t_s") / 60,
                updates=_number(point, "updates"),
                version=point.get("eval_version"),
            )


def _number(point: Point, key: str) -> float:
    value = point.get(key)
    return value if is_number(value) else 0


def read_episodes(run_dir: Path) -> tuple[list[EpisodeOutcome], str]:
    """All episodes in the replay, and why there are none where there are none."""
    replay = run_dir / "replay"
    if not replay.exists():
        return [], f"{replay} has no episode yet: the first ones are written within a minute"
    try:
        with open_snapshot(replay) as view:
            return read_outcomes(view), ""
    except BrokenError as error:
        return [], f"{error}: residual-rl replay verify {replay}"
    except (DatasetError, OSError) as error:
        return [], str(error)


def episode_films(films: Sequence[str]) -> dict[int, str]:
    """Episode -> its film, for films that are named after an episode of the replay."""
    found = ((re.search(r"episode[-_ ]?0*(\d+)", name), name) for name in films)
    return {int(match[1]): name for match, name in found if match}


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _modified_ns(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return None
