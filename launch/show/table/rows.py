"""One row a run: from its folder, or from a study's record where the folder is gone."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from config.process import UsageError, one_line
from launch.run.folder import SETTINGS, MetricsReader, Point, is_run, read_summary
from launch.run.holder import is_alive
from launch.run.machine import read_machine
from launch.show.table.settings import as_words, differences
from learner.intervals import wilson_interval

# Folders beside runs that are none: docs/reference/run-folder.md
NO_RUNS = ("spools", "studies")


class Row(msgspec.Struct, frozen=True):
    """A run; None where something is not known. `started` in seconds since 1970, `final` the newest success
    of the trained policy, with its 95 % interval `low` to `high`. `state`: finished, running, stopped, or
    what a study says; "gone" where the folder is."""

    name: str
    state: str
    started: float | None = None
    task: str | None = None
    algo: str | None = None
    seed: int | None = None
    base: float | None = None
    final: float | None = None
    low: float | None = None
    high: float | None = None
    frames: int | None = None
    minutes: float | None = None
    differs: str = ""
    study: str | None = None
    wandb: str | None = None
    commit: str | None = None


class Record(msgspec.Struct, frozen=True):
    """A line of a study's record, as far as rows need it."""

    class Success(msgspec.Struct, frozen=True):
        success: float
        low: float
        high: float

    name: str
    study: str
    task: str
    seed: int
    command: str
    commit: str
    status: str
    time: str
    frames: int | None = None
    wall_s: float | None = None
    base: Success | None = None
    final: Success | None = None


def read_rows(folder: Path, problems: list[str]) -> list[Row]:
    """All runs in `folder`, oldest first. What cannot be read becomes a line of `problems`."""
    records = list(_read_records(folder, problems))
    studies = {record.name: record for record in records}
    rows = [
        _with_study(row, studies.get(row.name))
        for path in sorted(folder.iterdir())
        if path.is_dir() and path.name not in NO_RUNS and (row := _tried_row(path, problems)) is not None
    ]
    there = {row.name for row in rows}
    rows += [_row_of(record) for record in records if record.name not in there]
    return sorted(rows, key=lambda row: row.started or 0.0)


def _tried_row(run_dir: Path, problems: list[str]) -> Row | None:
    """The same as `read_row`; None, and a problem, where a file may not be read."""
    try:
        return read_row(run_dir, problems)
    except OSError as error:
        problems.append(f"{error.filename} cannot be read: {error.strerror}")
        return None


def read_row(run_dir: Path, problems: list[str]) -> Row | None:
    """The row of one run; None for a folder without a run, which `problems` then has a line about."""
    if not is_run(run_dir):
        problems.append(f"{run_dir} is no run: it has neither launch.yaml nor config.yaml")
        return None
    settings = _settings(run_dir, problems)
    machine = read_machine(run_dir)
    figures = _figures(run_dir, problems)
    try:
        differs = as_words(differences(settings))
    except ValueError as error:  # OmegaConf's errors are ValueErrors
        problems.append(f"{run_dir}: its settings cannot be compared with the defaults: {one_line(error)}")
        differs = ""
    return Row(
        name=run_dir.name,
        started=machine.first.started_unix if machine else _started(run_dir),
        task=_text(settings, "task", "env_id"),
        algo=_text(settings, "algo", "name"),
        seed=seed if isinstance(seed := settings.get("seed"), int) else None,
        differs=differs,
        wandb=_first_line(run_dir / "wandb_id"),
        commit=machine and machine.commit + ("+" if machine.dirty else ""),
        **figures,
    )


def _figures(run_dir: Path, problems: list[str]) -> dict[str, Any]:
    """State and figures: of the summary, or of the newest points where there is none."""
    try:
        summary = read_summary(run_dir)
    except UsageError as error:
        problems.append(str(error))
        summary = None
    if summary is not None:
        episodes = summary.get("evaluation_episodes") or 0
        return {
            "state": "finished",
            **_success(summary.get("base_success"), summary.get("final_success"), episodes),
            "frames": summary.get("frames"),
            "minutes": _minutes(summary.get("wall_s")),
        }
    return {"state": "running" if is_alive(run_dir) else "stopped"} | _newest(run_dir, problems)


def _newest(run_dir: Path, problems: list[str]) -> dict[str, Any]:
    reader = MetricsReader(run_dir)
    points = reader.read_good()
    if reader.damaged:
        problems.append(f"{reader.path}: damaged lines left out: {len(reader.damaged)}")
    if not points:
        problems.append(f"{reader.path} has no point: nothing was measured")
    training = [point for point in points if "eval_version" not in point]
    full = _last(points, "success_full")
    return {
        **_success(
            _last(points, "success_base").get("success_base"),
            full.get("success_full"), full.get("eval_episodes") or 0,
        ),
        "frames": _last(training, "frames").get("frames"),
        "minutes": _minutes(_last(training, "t_s").get("t_s")),
    }  # fmt: skip


def _last(points: list[Point], key: str) -> Point:
    """The newest point that has a value for `key`; empty where none has."""
    return next((point for point in reversed(points) if point.get(key) is not None), {})


def _success(base: float | None, final: float | None, episodes: int) -> dict[str, float | None]:
    low, high = None, None
    if final is not None and 0 <= final <= 1 and episodes >= 1:
        low, high = wilson_interval(final, episodes)
    return {"base": base, "final": final, "low": low, "high": high}


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _settings(run_dir: Path, problems: list[str]) -> dict[str, Any]:
    """Of the first file that can be read; empty, and a problem, where none can."""
    for name in SETTINGS:
        path = run_dir / name
        try:
            settings = yaml.safe_load(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            problems.append(f"{path} cannot be read: {one_line(error)}")
            continue
        if isinstance(settings, dict):
            return settings
        problems.append(f"{path} has no settings")
    return {}


def _text(settings: dict[str, Any], section: str, key: str) -> str | None:
    values = settings.get(section)
    value = values.get(key) if isinstance(values, dict) else None
    return value if isinstance(value, str) else None


def _started(run_dir: Path) -> float:
    """Of a run without machine.json: when its oldest file of settings was written."""
    return min((run_dir / name).stat().st_mtime for name in SETTINGS if (run_dir / name).is_file())


def _first_line(path: Path) -> str | None:
    return path.read_text(errors="replace").strip() or None if path.is_file() else None


def _read_records(folder: Path, problems: list[str]) -> Iterator[Record]:
    """Lines of the studies' records in `folder`."""
    for path in sorted(path for path in folder.glob("*.jsonl") if path.is_file()):
        wrong: list[str] = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                yield msgspec.json.decode(line, type=Record)
            except ValueError as error:
                wrong.append(f"line {number} is no run of a study: {error}")
        if wrong:
            problems.append(f"{path}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if wrong[1:] else ""))


def _with_study(row: Row, record: Record | None) -> Row:
    """A run of a study has its commit and how it ended from there, if its folder does not tell."""
    if record is None:
        return row
    state = record.status if row.state == "stopped" else row.state
    return msgspec.structs.replace(row, study=record.study, state=state, commit=row.commit or record.commit)


def _row_of(record: Record) -> Row:
    """Of a run whose folder is gone."""
    base, final = record.base, record.final
    return Row(
        name=record.name, state=f"{record.status}, gone", started=_unix(record.time), study=record.study,
        task=record.task, seed=record.seed, frames=record.frames, minutes=_minutes(record.wall_s),
        base=base and base.success, final=final and final.success, low=final and final.low,
        high=final and final.high, differs=record.command, commit=record.commit,
    )  # fmt: skip


def _unix(text: str) -> float | None:
    """The local time that a study wrote."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").timestamp()
    except ValueError:
        return None
