"""What a run measures: a line in metrics.jsonl and a wandb point for each log step."""

import contextlib
import itertools
import json
import logging
import math
import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import find_dotenv, load_dotenv

from config.files import cut_torn_line
from config.learner import WandbConfig

log = logging.getLogger(__name__)

Value = float | int | str | None

# Points that wait for wandb. More than a slow network may owe: newer ones are dropped then.
_WAITING_POINTS = 10_000
# Ctrl-C has to end the run within ten seconds, whatever wandb does.
_FINISH_TIMEOUT_S = 5.0


class Metrics:
    """Writes `run_dir/metrics.jsonl`, one flushed line a point, and mirrors the numbers to wandb.

    wandb runs on a thread of its own and may fail without harm: that is said once. Its key, entity and
    server come from the environment or a .env file, and so does its project where none is configured.
    A context manager: wandb.finish() is always reached.

    Args:
        run_dir: the run's folder; made if missing. wandb keeps its files here too.
        wandb: its mode and project.
        config: the whole configuration, shown by wandb.
        resume: go on in the files of the run that was stopped, instead of anew.
    """

    def __init__(
        self, run_dir: Path, wandb: WandbConfig, config: Mapping[str, Any], *, resume: bool = False
    ) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / "metrics.jsonl"
        if resume:
            cut_torn_line(path)
        self._file = path.open("a" if resume else "w", encoding="utf-8")
        self._mirror = None if wandb.mode == "disabled" else _WandbMirror(run_dir, wandb, config, resume)

    def log(self, point: Mapping[str, Value]) -> None:
        """Keep one point; `frames` is wandb's step. NaN and infinity become null: JSON has neither."""
        plain = {key: _plain(value) for key, value in point.items()}
        self._file.write(json.dumps(plain, allow_nan=False) + "\n")
        self._file.flush()
        if self._mirror is not None:
            self._mirror.offer(plain)

    def close(self) -> None:
        """Finish both; may be called twice."""
        self._file.close()
        if self._mirror is not None:
            self._mirror.close()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _WandbMirror:
    """wandb on a thread of its own: starting, sending and failing there cost the run nothing."""

    def __init__(self, run_dir: Path, wandb: WandbConfig, config: Mapping[str, Any], resume: bool) -> None:
        load_dotenv(find_dotenv(usecwd=True))
        self._points: queue.Queue[dict[str, Value] | None] = queue.Queue(_WAITING_POINTS)
        self._thread = threading.Thread(
            target=self._run, args=(run_dir, wandb, dict(config), resume), name="wandb", daemon=True
        )
        self._thread.start()

    def offer(self, point: dict[str, Value]) -> None:
        if self._thread.is_alive() and not self._points.full():
            self._points.put_nowait(point)

    def close(self) -> None:
        if self._thread.is_alive() and not self._points.full():
            self._points.put_nowait(None)
        self._thread.join(_FINISH_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("wandb did not finish within %.0f s; wandb sync sends the rest", _FINISH_TIMEOUT_S)

    def _run(self, run_dir: Path, settings: WandbConfig, config: dict[str, Any], resume: bool) -> None:
        try:
            self._follow(run_dir, settings, config, resume)
        except Exception as error:  # whatever a figure's mirror suffers from, training goes on
            log.warning("no wandb from here on: %s: %s", type(error).__name__, error)

    def _follow(self, run_dir: Path, settings: WandbConfig, config: dict[str, Any], resume: bool) -> None:
        points, early = iter(self._points.get, None), list[dict[str, Value]]()
        for point in points:
            early.append(point)
            if point.get("frames"):
                break
        # Seconds of processor time, which actors need until their first frames.
        import wandb

        run = wandb.init(
            dir=run_dir,
            project=settings.project_name(),
            name=run_dir.name,
            id=_run_id(run_dir, resume),
            resume="allow" if resume else None,
            mode=settings.mode,
            config=config,
            settings=wandb.Settings(console="off", silent=True, init_timeout=60),
        )
        try:
            step = 0
            for point in itertools.chain(early, points):
                # wandb refuses steps that go back, as those of a late evaluation would.
                step = max(step, int(point.get("frames") or 0))
                run.log({k: v for k, v in point.items() if isinstance(v, int | float)}, step=step)
        finally:
            run.finish()


def _run_id(run_dir: Path, resume: bool) -> str:
    """wandb's id of this run, kept in the run's folder so that a resumed run goes on in the same one."""
    path = run_dir / "wandb_id"
    if resume and path.is_file():
        return path.read_text().strip()
    name = os.urandom(4).hex()
    path.write_text(name + "\n")
    return name


def _plain(value: Any) -> Value:
    """A number of numpy or torch as Python's own; what JSON cannot say as None."""
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def size_mb(folder: Path) -> float:
    """Size of all files below `folder`, in 10^6 bytes; files that vanish meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total / 1e6
