"""Success over fixed seeds: a line for people and one for programs."""

import json
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from config.compose import read_config
from config.main import Config
from config.process import UsageError
from launch.run.folder import find_run
from learner.intervals import wilson_interval

log = logging.getLogger("evaluate")


def config_of_run(run: str, overrides: Sequence[str]) -> Config:
    """The configuration with which a run was started, with some keys set anew.
    Raises UsageError: no such run, or a configuration that cannot be read."""
    run_dir = find_run(run)
    for name in ("config.yaml", "launch.yaml"):
        if (run_dir / name).is_file():
            return read_config(run_dir / name, overrides)
    raise UsageError(f"no run {run_dir}: name a folder under runs/")


def residual_of_run(run: str) -> Path:
    """The run's best residual, or its newest where none was evaluated.
    Raises UsageError: it has none yet."""
    checkpoints = find_run(run) / "checkpoints"
    for name in ("best.pt", "newest.pt"):
        if (checkpoints / name).is_file():
            return checkpoints / name
    raise UsageError(f"{checkpoints} has no residual yet: the first one comes within a minute of training")


def evaluate_and_report(config: Config, residual: Path | None, stop: threading.Event) -> float | None:
    """Play the episodes of learner.evaluation and print the result.

    Returns:
        the success rate; None if `stop` was set meanwhile.
    """
    # Later than the words are checked: this takes seconds.
    from actor.evaluate_base import evaluate_base

    plays = f"base {config.base.path}" if residual is None else f"base {config.base.path} with {residual}"
    log.info("evaluating %s on %s", plays, config.task.env_id)
    result = evaluate_base(config, residual, stop)
    if result is None:
        return None
    figures = result.figures()
    success, episodes = figures["success"], len(result.seeds)
    low, high = wilson_interval(success, episodes)
    log.info(
        "success %.0f %% of %d episodes, 95 %% interval %.0f to %.0f %%, seeds %d to %d",
        100 * success, episodes, 100 * low, 100 * high, result.seeds[0], result.seeds[-1],
    )  # fmt: skip
    sys.stdout.write(json.dumps(figures | {"low": round(low, 4), "high": round(high, 4)}) + "\n")
    return success
