"""Settings of the task: config/task/, typed and checked."""

from pathlib import Path
from typing import Literal

from config.relation import Relation
from config.section import Section

_CLASSIFIER = "classifier:"


class TaskConfig(Section, frozen=True):
    """config/task"""

    name: str
    env_id: str
    control_mode: str
    obs_mode: Literal["state"]
    sizes: tuple[int, int] | None
    cameras: tuple[str, ...]
    camera_size: tuple[int, int]
    residual_dims: tuple[int, ...] | None
    residual_scale: float
    relations: dict[str, tuple[Relation, ...]]
    max_episode_steps: int
    reward_mode: Literal["sparse", "normalized_dense"]
    reconfigure: bool
    success: str
    success_frames: int

    def __post_init__(self) -> None:
        self.filled("env_id", "control_mode")
        self.at_least(1, "max_episode_steps", "success_frames")
        judge = self.success == "simulator" or self.success.removeprefix(_CLASSIFIER) not in (
            self.success,
            "",
        )
        self.require(judge, "success", "simulator or classifier:<folder>")
        self.positive("residual_scale")
        self.require(self.sizes is None or min(self.sizes) >= 1, "sizes", "numbers of 1 or more, or null")
        # Videos store the colours of two by two pixels as one.
        sizes_fit = all(size >= 16 and size % 2 == 0 for size in self.camera_size)
        self.require(sizes_fit, "camera_size", "two even numbers of 16 or more")
        plain = all(name.replace("_", "").isalnum() for name in self.cameras)
        distinct = len(set(self.cameras)) == len(self.cameras)
        self.require(plain and distinct, "cameras", "different names of letters, digits and _")

    @property
    def classifier(self) -> Path | None:
        """The folder of the classifier that says when an episode has succeeded; None: the simulator does."""
        return Path(self.success.removeprefix(_CLASSIFIER)) if self.success.startswith(_CLASSIFIER) else None
