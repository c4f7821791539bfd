"""A program that sends points to Weights & Biases: see following.py.

A point may hold more than figures: an `artifact` (a base or residual to be kept), a `film` or a `report`.
"""

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import wandb

from learner.intervals import wilson_interval
from learner.tracking.following import Job, Point, numbers_of, serve

_CONNECT_TIMEOUT_S = 5.0
# Of an evaluation's row: what a point of metrics.jsonl says.
_OF_POINT = ("frames", "updates", "t_s", "eval_version", "eval_episodes", "eval_wall_s")
EVALUATION = ("policy", "success", "low", "high", *_OF_POINT)
FILM = ("film", "kind", "seed", "policy", "version", "success", "as_evaluated")


class Wandb:
    """A run: figures over the axis, evaluations and films as tables, and the summary at its end."""

    def __init__(self, job: Job) -> None:
        if job.arguments["mode"] == "online":
            require_server()
        else:
            os.environ.pop("WANDB_API_KEY", None)  # wandb refuses a broken one even there
        # Tables and bases, until they are sent. The home folder may be read-only.
        os.environ.setdefault("WANDB_DATA_DIR", os.path.abspath(f"{job.arguments['dir']}/wandb"))
        # What the system's figures are about is the process that started this one.
        settings = wandb.Settings(console="off", silent=True, x_stats_pid=os.getppid())
        self._run = wandb.init(**job.arguments, settings=settings)
        self._run.define_metric(job.axis)
        self._run.define_metric("*", step_metric=job.axis)
        self.place = str(Path(self._run.dir).parent)
        self._folder = Path(job.points).parent
        # A table that is not incremental is logged as a whole.
        with open(job.points, "rb") as file:
            earlier = map(json.loads, file.read(job.offset).splitlines())
            self._evaluations = [row for point in earlier for row in _evaluation(point)]
        self._films: wandb.Table | None = None

    def log(self, number: int, point: Point) -> None:
        """Wandb's own step is the number of the line: steps that go back, or come twice, it would mix up."""
        if (artifact := point.get("artifact")) is not None:
            self._publish(artifact)
        shown: dict[str, Any] = numbers_of(point)
        if rows := _evaluation(point):
            self._evaluations += rows
            shown["evaluations"] = wandb.Table(columns=list(EVALUATION), data=self._evaluations)
        if (film := point.get("film")) is not None:
            shown["films"] = self._with_film(film)
        if (report := point.get("report")) is not None:
            shown["report"] = wandb.Html(report["file"], inject=False)
        # Else the last point would be written after the summary.
        self._run.log(shown, step=number, commit=True)

    def finish(self) -> None:
        summary = self._folder / "summary.json"
        if summary.is_file():
            self._run.summary.update(summary_figures(json.loads(summary.read_bytes())))
        self._run.finish()

    def _publish(self, artifact: dict[str, Any]) -> None:
        """The files of a folder, which is removed: wandb has copies, and keeps none once they are sent."""
        folder = Path(artifact["folder"])
        kept = wandb.Artifact(artifact["name"], type=artifact["type"], metadata=artifact["metadata"])
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            kept.add_file(str(path), name=str(path.relative_to(folder)), skip_cache=True)
        self._run.log_artifact(kept, aliases=artifact["aliases"])
        shutil.rmtree(folder, ignore_errors=True)

    def _with_film(self, film: dict[str, Any]) -> wandb.Table:
        """Each film is a row that is sent at once."""
        if self._films is None:
            self._films = wandb.Table(columns=list(FILM), log_mode="INCREMENTAL")
        video = wandb.Video(film["file"], format="mp4")
        self._films.add_data(video, *(film.get(name) for name in FILM[1:]))
        return self._films


def summary_figures(summary: dict[str, Any]) -> dict[str, Any]:
    """Of summary.json, what is a figure, and why the run ended early: the rest are places on this machine."""
    return numbers_of(summary) | {"stopped_early": summary.get("stopped_early")}


def _evaluation(point: Point) -> list[list[Any]]:
    """The row of a point that an evaluation made; none of another."""
    return [
        [policy, success, *wilson_interval(success, point["eval_episodes"]), *map(point.get, _OF_POINT)]
        for policy in ("base", "full")
        if (success := point.get(f"success_{policy}")) is not None and point.get("eval_episodes")
    ]


def require_server() -> None:
    """Raise OSError if nobody listens where W&B should be: wandb would try for minutes."""
    server = urlsplit(wandb.setup().settings.base_url)
    if not getproxies():
        port = server.port or (443 if server.scheme == "https" else 80)
        socket.create_connection((server.hostname or "", port), _CONNECT_TIMEOUT_S).close()


if __name__ == "__main__":
    sys.exit(serve(Wandb))
