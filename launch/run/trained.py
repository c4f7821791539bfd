"""What a run has trained, and with which configuration."""

from collections.abc import Sequence
from pathlib import Path

from actor.policy.run_files import NAMED, residual_place
from config.compose import read_config
from config.main import Config
from config.process import UsageError
from config.trust import UNTRUSTED
from launch.run.folder import find_run


def config_of_run(run: str, overrides: Sequence[str]) -> Config:
    """The configuration with which a run was started, with some keys set anew.
    Raises UsageError: no such run, or a configuration that cannot be read."""
    run_dir = find_run(run)
    for name in ("config.yaml", "launch.yaml"):
        if (run_dir / name).is_file():
            return read_config(run_dir / name, [UNTRUSTED, *overrides])
    raise UsageError(f"no run {run_dir}: name a folder under runs/")


def residual_of_run(run: str) -> Path:
    """The run's best residual, or its newest where none was evaluated.
    Raises UsageError: it has none yet."""
    checkpoints = find_run(run) / "checkpoints"
    for name in NAMED:
        if (place := residual_place(checkpoints, name)).is_file():
            return place
    raise UsageError(f"{checkpoints} has no residual yet: the first one comes within a minute of training")


def base_of_run(run_dir: Path) -> Path:
    """The folder of the best base that the run has trained, or of its newest.
    Raises UsageError: it has none yet."""
    bases = run_dir / "checkpoints" / "bases"
    for name in ("best", "newest"):
        if (bases / name).is_dir():
            return bases / name
    raise UsageError(f"{bases} has no base yet: the first one comes when it is published")
