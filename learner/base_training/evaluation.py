"""Evaluations of a base in training, each in a process of its own beside the training."""

import json
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from actor.policy.dimensions import simulated_dimensions
from config.compose import compose_config, write_config
from config.main import Config
from config.task import TaskConfig
from config.tasks import task_file
from config.train_base import TrainBaseConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """The base of `step` iterations succeeded in `success` of the episodes; None: the evaluation failed."""

    step: int
    success: float | None


class BaseEvaluations:
    """At most one at a time.
    `folder`: of the checkpoint that is evaluated."""

    def __init__(self, settings: TrainBaseConfig, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._step = 0
        self._config_file = folder / "evaluation.yaml"
        if settings.evaluation.every:
            write_config(self._config_file, evaluation_config(settings, folder))
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as this object

    @property
    def running(self) -> bool:
        """Whether an evaluation was started whose result nobody has taken."""
        return self._process is not None

    def start(self, step: int) -> None:
        """Evaluate the checkpoint in the folder, of `step` iterations."""
        self._step = step
        self._output.seek(0)
        self._output.truncate()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "actor.evaluate_base", "--config", str(self._config_file)],
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
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._output.close()


def evaluation_config(settings: TrainBaseConfig, folder: Path) -> Config:
    """The configuration of a run that would play the base in `folder`. Raises ConfigError."""
    evaluation = settings.evaluation
    return compose_config(
        [
            *_task_words(settings),
            f"base.path={folder}",
            f"base.act_horizon={evaluation.act_horizon}",
            f"base.inference_steps={evaluation.inference_steps}",
            f"task.sizes={list(simulated_dimensions(played_task(settings)))}",
            "task.residual_dims=null",
            f"algo.residual_every={evaluation.act_horizon}",
            f"learner.evaluation.episodes={evaluation.episodes}",
            f"learner.evaluation.first_seed={evaluation.first_seed}",
            f"learner.evaluation.num_envs={evaluation.num_envs}",
        ]
    )


def played_task(settings: TrainBaseConfig) -> TaskConfig:
    """The task of an evaluation. Raises ConfigError."""
    return compose_config(_task_words(settings)).task


def _task_words(settings: TrainBaseConfig) -> list[str]:
    known, limit = task_file(settings.task), settings.evaluation.max_episode_steps
    return [
        # What such a file says of the scene counts: a run will play the base there.
        *([] if known is None else [f"task={known}"]),
        *([] if limit is None else [f"task.max_episode_steps={limit}"]),
        f"task.env_id={settings.task}",
        f"task.control_mode={settings.control_mode}",
    ]
