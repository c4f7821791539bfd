"""Evaluations of a base in training, each in a process of its own beside the training."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actor.policy.dimensions import named_dimensions
from config.train_base import TrainBaseConfig, task_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """The base of `step` iterations succeeded in `success` of the episodes; None: no figure to be had."""

    step: int
    success: float | None


class BaseEvaluations:
    """At most one at a time. `folder` keeps the checkpoint that is being evaluated."""

    def __init__(self, settings: TrainBaseConfig, folder: Path) -> None:
        self._settings, self.folder = settings, folder
        self._process: subprocess.Popen[str] | None = None
        self._step = 0
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as this object

    @property
    def running(self) -> bool:
        """Whether an evaluation was started whose result nobody has taken."""
        return self._process is not None

    def start(self, step: int, save: Callable[[Path], None]) -> None:
        """Begin with what `save` writes into the folder."""
        save(self.folder)
        self._step = step
        self._output.seek(0)
        self._output.truncate()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "actor.evaluate_base", *self._overrides()],
            stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def take(self, wait: bool = False) -> Evaluated | None:
        """The result, once, when there is one; with `wait`, when the evaluation under way ends."""
        if self._process is None or (not wait and self._process.poll() is None):
            return None
        code, self._process = self._process.wait(), None
        self._output.seek(0)
        lines = self._output.read().strip().splitlines()
        if code != 0 or not lines:
            log.warning(
                "no evaluation at step %d: %s", self._step, lines[-1] if lines else f"exit code {code}"
            )
            return Evaluated(self._step, None)
        return Evaluated(self._step, json.loads(lines[-1])["success"])

    def close(self) -> None:
        """End what is under way."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._output.close()

    def _overrides(self) -> list[str]:
        settings = self._settings.evaluation
        known = task_file(self._settings.task)
        limit = settings.max_episode_steps
        return [
            # What such a file says of the scene counts: a run will play the base there.
            *([] if known is None else [f"task={known}"]),
            *([] if limit is None else [f"task.max_episode_steps={limit}"]),
            f"base.path={self.folder}",
            f"base.act_horizon={settings.act_horizon}",
            f"base.inference_steps={settings.inference_steps}",
            f"task.env_id={self._settings.task}",
            f"task.control_mode={self._settings.control_mode}",
            f"task.sizes={list(named_dimensions(self._settings.task, self._settings.control_mode))}",
            "task.residual_dims=null",
            f"algo.residual_every={settings.act_horizon}",
            f"learner.evaluation.episodes={settings.episodes}",
            f"learner.evaluation.first_seed={settings.first_seed}",
            f"learner.evaluation.num_envs={settings.num_envs}",
        ]
