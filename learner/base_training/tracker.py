"""A base's training on trackers: curves, and on W&B the checkpoint as one artifact with aliases."""

import os
import shutil
import threading
from pathlib import Path

import msgspec

from config.tracking import trackers_in_use
from config.train_base import TrainBaseConfig
from learner.report.metrics import Metrics
from learner.tracking.trackers import Tracked

# A checkpoint is larger than curves; a training that took hours can wait for it.
_FINISH_S = 120.0


class BaseTracker:
    """Does nothing where no tracker is asked for. Training never waits for one before its end.

    Args:
        resume: the training goes on, so curves do too.
    """

    def __init__(self, settings: TrainBaseConfig, *, resume: bool = False) -> None:
        self._name = f"base-{settings.task}"
        self._in_use = trackers_in_use(settings.tracking, settings.wandb)
        self._published = settings.folder / "publishing"
        self._metrics: Metrics | None = None
        if self._in_use:
            config = msgspec.to_builtins(settings)
            tracked = Tracked(
                settings.folder, settings.tracking, settings.wandb, config,
                axis="step", resume=resume, job_type="train_base", finish_s=_FINISH_S,
            )  # fmt: skip
            self._metrics = Metrics(tracked)

    def log(self, step: int, **figures: float) -> None:
        if self._metrics is not None:
            self._metrics.log({"step": step, **figures})

    def publish(self, folder: Path, checkpoint: str, step: int, best: bool) -> None:
        """`folder`'s args.json and checkpoints/<checkpoint>.pt as a new version of the one artifact,
        in the published layout: what downloads it is a base.path. Networks alone, no optimiser state."""
        if self._metrics is None or "wandb" not in self._in_use:
            return
        kept = self._published / str(step)
        shutil.rmtree(kept, ignore_errors=True)
        (kept / "checkpoints").mkdir(parents=True)
        # Checkpoints are replaced, never written over: a link keeps this one until it is sent.
        os.link(folder / "args.json", kept / "args.json")
        os.link(folder / "checkpoints" / f"{checkpoint}.pt", kept / "checkpoints" / "best.pt")
        aliases = [f"step-{step}", "latest", *(["best"] if best else [])]
        artifact = {
            "folder": str(kept), "name": self._name, "type": "model", "aliases": aliases,
            "metadata": {"step": step},
        }  # fmt: skip
        self._metrics.log({"step": step, "artifact": artifact})

    def close(self, stop: threading.Event | None = None) -> None:
        """Wait until trackers have everything; for a moment only once `stop` is set."""
        if self._metrics is not None:
            self._metrics.close(stop)
            shutil.rmtree(self._published, ignore_errors=True)
