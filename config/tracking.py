"""Which trackers show a run or a training, and how Weights & Biases is set: typed and checked."""

import os
from typing import Literal

from config.section import Section

TrackerName = Literal["wandb", "tensorboard", "trackio"]

# W&B's own limit.
_LONGEST_TAG = 64


class WandbConfig(Section, frozen=True):
    """wandb, of a run or of the training of a base"""

    mode: Literal["offline", "online", "disabled"]
    project: str | None
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    notes: str | None

    def __post_init__(self) -> None:
        fits = all(0 < len(tag) <= _LONGEST_TAG for tag in self.tags)
        self.require(fits, "tags", f"texts of 1 to {_LONGEST_TAG} characters")

    def project_name(self) -> str:
        """`project`, else the environment's WANDB_PROJECT. Ask after a .env file was loaded."""
        return self.project or os.environ.get("WANDB_PROJECT") or "residual-rl"

    def group_name(self) -> str | None:
        """`group`, else the environment's WANDB_RUN_GROUP, which a study sets."""
        return self.group or os.environ.get("WANDB_RUN_GROUP") or None


class RunWandbConfig(WandbConfig, frozen=True):
    """learner.wandb"""

    replay: bool


def trackers_in_use(tracking: tuple[TrackerName, ...], wandb: WandbConfig) -> tuple[TrackerName, ...]:
    """Those of `tracking`, each once, less W&B where its mode is disabled."""
    return tuple(dict.fromkeys(name for name in tracking if name != "wandb" or wandb.mode != "disabled"))
