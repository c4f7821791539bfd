"""What trackers show, for tests: a folder, and the keys of a run's configuration that are about them."""

from pathlib import Path

from config.compose import compose_config
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
