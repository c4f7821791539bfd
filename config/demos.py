"""Settings of demonstrations, which are made or downloaded: config/demos/main.yaml, typed and checked."""

from collections.abc import Sequence
from typing import Literal

from config.compose import CONFIG_DIR, compose_section
from config.section import Section
from config.tasks import with_env_id


class DemosConfig(Section, frozen=True):
    """config/demos/main.yaml"""

    task: str
    episodes: int
    source: Literal["plan", "download"]
    keep: Literal["success", "all"]
    control_mode: str
    noise: float
    first_seed: int
    max_attempts_per_episode: int
    processes: int | None
    out: str
    lerobot: bool
    cameras: tuple[str, ...]
    camera_size: tuple[int, int] | None
    state: Literal["all", "proprioception"]

    def __post_init__(self) -> None:
        self.require(bool(self.task), "task", "the id of a task, or a file of config/task")
        self.require(bool(self.out), "out", "a folder")
        self.at_least(1, "episodes", "max_attempts_per_episode")
        self.at_least(0, "first_seed")
        self.require(0 <= self.noise <= 1, "noise", "in 0 .. 1")
        self.require(all(self.cameras), "cameras", "names of cameras")
        sized = self.camera_size is None or len(self.cameras) > 0
        self.require(sized, "camera_size", "null without cameras")
        written = self.writes_dataset or self.state == "all"
        self.require(written, "state", "all unless there is a LeRobot dataset (lerobot=true, or cameras)")
        self.require(self.processes is None or self.processes >= 1, "processes", "at least 1, or null")

    @property
    def writes_dataset(self) -> bool:
        """Whether there is a LeRobot dataset beside the h5."""
        return self.lerobot or len(self.cameras) > 0


def compose_demos(overrides: Sequence[str]) -> DemosConfig:
    """config/demos/main.yaml with Hydra overrides, checked.
    Raises ConfigError: in one line, naming the key."""
    # A folder of its own: beside config/task, `task=<id>` would name a group.
    return compose_section(CONFIG_DIR / "demos", with_env_id(overrides), DemosConfig)
