"""What a run measures: a line in metrics.jsonl and a wandb point for each log step."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import find_dotenv, load_dotenv

from config.files import cut_torn_line
from config.learner import WandbConfig
from learner.report.mirror import WandbMirror

Value = float | int | str | None


class Metrics:
    """Writes `run_dir/metrics.jsonl`, one flushed line a point, and mirrors the numbers to wandb.

    wandb runs in a process of its own and may fail without harm: that is said once. Its key, entity and
    server come from the environment or a .env file, and so does its project where none is configured.
    A context manager: what it has is always sent, or kept where that takes too long.

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
        self._mirror = None
        if wandb.mode != "disabled":
            self._mirror = WandbMirror(path, _arguments(run_dir, wandb, config, resume), step_key="frames")

    def log(self, point: Mapping[str, Value]) -> None:
        """Keep one point; `frames` is wandb's step. NaN and infinity become null: JSON has neither."""
        plain = {key: json_value(value) for key, value in point.items()}
        self._file.write(json.dumps(plain, allow_nan=False) + "\n")
        self._file.flush()
        if self._mirror is not None and plain.get("frames"):
            self._mirror.begin()

    def end(self, *, hurried: bool) -> None:
        """There are no more points: wandb may finish while the rest of the run ends."""
        if self._mirror is not None:
            self._mirror.end(hurried=hurried)

    def close(self) -> None:
        """Finish both; may be called twice."""
        self._file.close()
        if self._mirror is not None:
            self._mirror.close()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _arguments(run_dir: Path, wandb: WandbConfig, config: Mapping[str, Any], resume: bool) -> dict[str, Any]:
    """Of wandb.init."""
    load_dotenv(find_dotenv(usecwd=True))
    return {
        "dir": str(run_dir),
        "project": wandb.project_name(),
        "name": run_dir.name,
        "id": _run_id(run_dir, resume),
        "resume": "allow" if resume else None,
        "mode": wandb.mode,
        "config": dict(config),
    }


def _run_id(run_dir: Path, resume: bool) -> str:
    """wandb's id of this run, kept in the run's folder so that a resumed run goes on in the same one."""
    path = run_dir / "wandb_id"
    if resume and path.is_file():
        return path.read_text().strip()
    name = os.urandom(4).hex()
    path.write_text(name + "\n")
    return name


def json_value(value: Any) -> Value:
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
