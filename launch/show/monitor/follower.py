"""Follows a run's folder while other processes write it: one snapshot a look."""

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from config.process import UsageError
from launch.run.folder import SETTINGS, MetricsReader, Point, read_summary, summary_rows
from launch.run.holder import is_alive
from launch.show.monitor.logs import page_address, read_logs, warnings_in
from launch.show.monitor.snapshot import Actor, Goal, Measured, Settings, Snapshot, State

# A launcher writes the settings before it starts the processes that lock the folder.
STARTING_S = 15.0
EVALUATED = {"base": "success_base", "full": "success_full"}
# Of a learner that works: the longest time between two points, in `log_every_s`.
SILENT_POINTS = 4
LEAST_FREE_MB = 2000.0
SHOWN_WARNINGS = 20
# Points of the behaviour's curve: more than a terminal has columns. Beyond twice as many, every second goes.
CURVE_POINTS = 2000


class _Status(msgspec.Struct, frozen=True):
    """status.json, which the learner replaces at every point."""

    t_unix: float
    actors: tuple[Actor, ...] = ()
    waiting_for: str | None = None


class Follower:
    """Reads what is new at each look. Nothing in the folder stops it: what cannot be read is a warning."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._reader = MetricsReader(run_dir)
        self._figures: dict[str, float] = {}
        self._waiting_for: str | None = None
        self._unit: Any = None
        self._base: Measured | None = None
        self._full: list[Measured] = []
        self._behaviour: list[tuple[int, float]] = []
        self._not_finite: dict[str, int] = {}
        self._settings: tuple[object, Settings | None] | None = None

    def look(self) -> Snapshot:
        """The run now."""
        warnings: list[str] = []
        self._add(_tried(self._reader.read_good, warnings) or [])
        settings = _tried(self._read_settings, warnings) or Settings()
        summary = _tried(lambda: read_summary(self.run_dir), warnings)
        silent_s = _age_s(self.run_dir / "metrics.jsonl")
        state = self._state(summary is not None, silent_s)
        status = _tried(lambda: _read_status(self.run_dir), warnings) if state == "running" else None
        logs = _tried(lambda: read_logs(self.run_dir / "logs"), warnings) or {}
        free_mb = _tried(lambda: shutil.disk_usage(self.run_dir).free / 1e6, warnings)
        total = settings.learner.total_frames
        warnings += self._warnings(state, settings, silent_s, free_mb, status)
        return Snapshot(
            run=self.run_dir.name,
            folder=str(self.run_dir),
            state=state,
            task=settings.task.env_id,
            algo=settings.algo.name,
            seed=settings.seed,
            total_frames=total,
            goal=self._goal(total),
            figures=dict(self._figures),
            base=self._base,
            full=tuple(self._full),
            behaviour=tuple(self._behaviour),
            left_s=self._left_s(self._goal(total)) if state == "running" else None,
            waiting=self._who_waits(status) if state == "running" else None,
            silent_s=silent_s,
            actors=status and status.actors,
            free_mb=free_mb,
            warnings=tuple(
                text.replace(f"{self.run_dir}/", "")
                for text in [*warnings, *warnings_in(logs)][-SHOWN_WARNINGS:]
            ),
            page=page_address(logs) if state in ("starting", "running") else None,
            logs=logs,
            summary=None if summary is None else summary_rows(self.run_dir, summary),
        )

    def _read_settings(self) -> Settings | None:
        """Read once while the files stay as they are: reading YAML takes long. Raises UsageError."""
        written = [(self.run_dir / name, _written(self.run_dir / name)) for name in SETTINGS]
        if self._settings is None or self._settings[0] != written:
            self._settings = written, _read_settings(self.run_dir)
        return self._settings[1]

    def _add(self, points: Iterable[Point]) -> None:
        for point in points:
            if "eval_version" in point or any(point.get(key) is not None for key in EVALUATED.values()):
                self._add_evaluation(point)
                continue
            self._waiting_for, self._unit = point.get("waiting_for"), point.get("goal_unit")
            for key, value in point.items():
                if isinstance(value, int | float):
                    self._figures[key] = value
                    self._not_finite.pop(key, None)
                elif key.startswith(("loss/", "q_")):
                    self._not_finite[key] = int(point.get("frames") or 0)
            if point.get("success_behaviour") is not None and point.get("frames") is not None:
                self._behaviour.append((int(point["frames"]), point["success_behaviour"]))
        while len(self._behaviour) > 2 * CURVE_POINTS:
            self._behaviour = self._behaviour[::-2][::-1]

    def _add_evaluation(self, point: Point) -> None:
        """Its counts are those of the weights that were evaluated, long ago."""
        episodes, version = point.get("eval_episodes") or 0, point.get("eval_version")
        for policy, key in EVALUATED.items():
            success = point.get(key)
            if success is None or not 0 <= success <= 1:
                continue
            measured = Measured.of(success, int(episodes), int(point.get("frames") or 0), version)
            if policy == "base":
                self._base = measured
            else:
                self._full.append(measured)

    def _state(self, over: bool, silent_s: float | None) -> State:
        if over:
            return "over"
        begun_s = [age for name in SETTINGS if (age := _age_s(self.run_dir / name)) is not None]
        begun = min(begun_s, default=None)
        has_spoken = silent_s is not None and (begun is None or silent_s < begun)
        if is_alive(self.run_dir):
            return "running" if has_spoken else "starting"
        return "starting" if not has_spoken and begun is not None and begun < STARTING_S else "not running"

    def _goal(self, total_frames: int | None) -> Goal | None:
        """Runs of earlier releases have a number of frames alone."""
        done, wanted = self._figures.get("goal_done"), self._figures.get("goal_wanted")
        if done is not None and wanted and isinstance(self._unit, str):
            return Goal(done, wanted, self._unit)
        frames = self._figures.get("frames")
        return Goal(frames, total_frames, "frames") if frames and total_frames else None

    def _left_s(self, goal: Goal | None) -> float | None:
        elapsed_s = self._figures.get("t_s")
        if goal is None or not goal.done or not elapsed_s or goal.done >= goal.wanted:
            return None
        return elapsed_s * (goal.wanted / goal.done - 1)

    def _who_waits(self, status: _Status | None) -> str | None:
        """None before the first point."""
        if self._waiting_for is None:
            return None
        said = (status and status.waiting_for) or self._waiting_for
        if said == "updates (actors wait)":
            return "the actors, for updates of the learner"
        if said:
            return f"the learner, for {said}"
        due = self._figures.get("updates_due", 0)
        return "the learner, for experience" if due < 1 else f"nobody; {due:,.0f} updates are due"

    def _warnings(
        self, state: State, settings: Settings, silent_s: float | None, free_mb: float | None,
        status: _Status | None,
    ) -> list[str]:  # fmt: skip
        """What the figures say about trouble."""
        found = [f"{key} is no finite number at {at:,} frames" for key, at in self._not_finite.items()]
        if damaged := len(self._reader.damaged):
            found.append(f"{self._reader.path}: damaged lines left out: {damaged}")
        if state == "running" and silent_s is not None and silent_s > _patience_s(settings):
            found.append(f"the learner has written no figures for {silent_s:.0f} s")
        if state != "over" and free_mb is not None and free_mb < LEAST_FREE_MB:
            found.append(f"the disk has {free_mb / 1000:.1f} GB left")
        found += [f"{actor.name} is gone" for actor in (status.actors if status else ()) if not actor.alive]
        return found


def _tried[T](read: Callable[[], T], warnings: list[str]) -> T | None:
    """What `read` returns; None, and a warning, where a file cannot be read."""
    try:
        return read()
    except UsageError as error:
        warnings.append(str(error))
    except OSError as error:
        warnings.append(f"{error.filename} cannot be read: {error.strerror}")
    return None


def _read_settings(run_dir: Path) -> Settings | None:
    """Of the first file that can be read. Raises UsageError: none can."""
    problems = []
    for name in SETTINGS:
        try:
            plain = yaml.safe_load((run_dir / name).read_text())
            return msgspec.convert(plain, Settings)
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            problems.append(f"{run_dir / name} is damaged: {' '.join(str(error).split())}")
    raise UsageError(problems[0] if problems else f"{run_dir} has neither launch.yaml nor config.yaml")


def _read_status(run_dir: Path) -> _Status | None:
    path = run_dir / "status.json"
    if not path.is_file():
        return None
    try:
        status = msgspec.json.decode(path.read_bytes(), type=_Status)
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    since_s = max(0.0, time.time() - status.t_unix)
    heard = [
        msgspec.structs.replace(a, last_heard_s=(a.last_heard_s or 0.0) + since_s) for a in status.actors
    ]
    return msgspec.structs.replace(status, actors=tuple(heard))


def _patience_s(settings: Settings) -> float:
    return max(STARTING_S, SILENT_POINTS * (settings.learner.log_every_s or 0.0))


def _written(path: Path) -> tuple[int, int] | None:
    """Changes when the file is written or replaced; None where there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


def _age_s(path: Path) -> float | None:
    """Seconds since the file was written; None where there is none."""
    return max(0.0, time.time() - path.stat().st_mtime) if path.exists() else None
