"""What a run has after its learner's end, films, report and artifacts, goes to its W&B run too."""

import json
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError

from config.main import Config
from config.process import UsageError, one_line
from config.tracking import trackers_in_use
from learner.tracking.mirror import Mirror
from learner.tracking.trackers import Tracked, how_to_send, load_environment, offline_runs, wandb_tracker

# Films are a few MB each; nothing else of the run waits any more.
_FINISH_S = 120.0
# With a replay, which may be many GB.
_FINISH_REPLAY_S = 3600.0


class _Films(msgspec.Struct):
    """videos/index.json"""

    films: list[dict[str, Any]]


def send_results(run_dir: Path, config: Config, stop: threading.Event, said_by: logging.Logger) -> None:
    """Send what was not sent before, or keep it where W&B is offline, and say how all of it is sent.

    `results.jsonl` has a line for all that was handed over. `stop`: once it is set this ends within seconds.
    What cannot be written, as on a full disk, is a warning: the run is over and has everything.
    """
    if "wandb" not in trackers_in_use(config.tracking, config.learner.wandb):
        return
    from learner.tracking.published import PUBLISHED  # torch takes seconds

    place = run_dir / PUBLISHED
    try:
        if place.exists():  # of a process that was killed
            shutil.rmtree(place)
        _send(run_dir, config, stop, said_by)
    except (OSError, SafetensorError, UsageError) as error:
        said_by.warning("films, report and artifacts do not go to W&B: %s", one_line(error))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _send(run_dir: Path, config: Config, stop: threading.Event, said_by: logging.Logger) -> None:
    from learner.tracking.published import published

    path = run_dir / "results.jsonl"
    path.touch()
    load_environment()
    tracked = Tracked(
        run_dir, config.tracking, config.learner.wandb, msgspec.to_builtins(config),
        resume=True, finish_s=_FINISH_REPLAY_S if config.learner.wandb.replay else _FINISH_S,
    )  # fmt: skip
    tracker = wandb_tracker(tracked)  # first: artifacts are named by W&B's id of the run
    done = path.read_text().splitlines()
    artifacts = {json.dumps(artifact.point): artifact for artifact in published(run_dir, config)}
    results = [*map(json.dumps, _results(run_dir, said_by)), *artifacts]
    lines = [line for line in results if line not in done]
    if not lines:
        say_how_to_send(run_dir, said_by)
        return
    for line in artifacts.keys() & lines:
        artifacts[line].write()
    number = _lines(run_dir / "metrics.jsonl") + len(done)
    mirror = Mirror(path, tracker, tracked.axis, number=number, said_by=said_by)
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    mirror.begin()
    mirror.close(stop)


def say_how_to_send(run_dir: Path, said_by: logging.Logger) -> None:
    """Of what W&B keeps in the run's folder; nothing where all was sent."""
    if kept := offline_runs(run_dir):
        said_by.info("W&B: %s", how_to_send(kept[-1]))


def _results(run_dir: Path, said_by: logging.Logger) -> list[dict[str, Any]]:
    """A point for each film and for the report."""
    points: list[dict[str, Any]] = []
    for film in _films(run_dir / "videos" / "index.json", said_by):
        video = run_dir / "videos" / str(film.get("file"))
        if video.is_file():
            points.append({"film": film | _file(video)})
    report = run_dir / "report.html"
    if report.is_file():
        points.append({"report": _file(report)})
    return points


def _films(index: Path, said_by: logging.Logger) -> list[dict[str, Any]]:
    if not index.is_file():
        return []
    try:
        return msgspec.json.decode(index.read_bytes(), type=_Films).films
    except ValueError as error:
        said_by.warning("no film goes to W&B: %s is damaged: %s", index, error)
        return []


def _file(path: Path) -> dict[str, Any]:
    """What is made anew has another time, and is sent again."""
    return {"file": str(path), "written": path.stat().st_mtime_ns}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0
