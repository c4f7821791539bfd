"""What trackers show, for tests: a folder, and the keys of a run's configuration that are about them."""

import os
from pathlib import Path

import pytest

from config.compose import compose_config
from learner.tracking import mirror
from learner.tracking.trackers import Tracked


def tracked(folder: Path, *words: str, resume: bool = False, has_launcher: bool = False) -> Tracked:
    """`words`: tracking=..., wandb.key=value."""
    project = "learner.wandb.project=test"
    given = [f"learner.{word}" if word.startswith("wandb.") else word for word in words]
    config = compose_config([project, *given])
    shown = {"seed": 3}
    return Tracked(
        folder, config.tracking, config.learner.wandb, shown, resume=resume, has_launcher=has_launcher
    )


def clean(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No account of whoever runs this; time for machines that others use."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKIO_DIR", str(home / "trackio"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(mirror, "FINISH_TIMEOUT_S", 60.0)
    monkeypatch.chdir(home)  # no .env file
