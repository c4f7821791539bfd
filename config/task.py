"""Settings of the task: config/task/, typed and checked."""

from pathlib import Path
from typing import Literal

from config.reach import Scale
from config.relation import Relation
from config.section import Section

_CLASSIFIER = "classifier:"
SCALED = "scaled"
"""The control mode of gymnasium's tasks: their own actions, scaled to [-1, 1]."""


class GymnasiumConfig(Section, frozen=True):
    """task.gymnasium"""

    package: str | None
    success: Literal["is_success", "success", "terminated", "reward"]
    success_reward: float | None

    def __post_init__(self) -> None:
        self.filled("package")
        counts = self.success == "reward"
        rule = "a number for success=reward, else null"
        self.require((self.success_reward is not None) == counts, "success_reward", rule)


class GoalConfig(Section, frozen=True):
    """task.goal"""

    achieved: tuple[int, int]
    desired: tuple[int, int]
    threshold: float

    def __post_init__(self) -> None:
        self.positive("threshold")
        for key in ("achieved", "desired"):
            first, stop = getattr(self, key)
            self.require(0 <= first < stop, key, "[first, end) with first below end")
        lengths = self.achieved[1] - self.achieved[0], self.desired[1] - self.desired[0]
        self.require(lengths[0] == lengths[1], "desired", "as long as achieved")


class TaskConfig(Section, frozen=True):
    """config/task"""

    name: str
    simulator: Literal["maniskill", "gymnasium"]
    gymnasium: GymnasiumConfig | None
    env_id: str
    control_mode: str
    obs: Literal["state", "pixels", "both"]
    sizes: tuple[int, int] | None
    cameras: tuple[str, ...]
    camera_size: tuple[int, int]
    residual_dims: tuple[int, ...] | None
    residual_scale: Scale
    relations: dict[str, tuple[Relation, ...]]
    proprioception: dict[str, tuple[tuple[int, int], ...]]
    goal: GoalConfig | None
    robot_type: str
    robot_state_dim: int | None
    fps: int
    max_episode_steps: int
    reward_mode: Literal["sparse", "normalized_dense", "own"]
    reconfigure: bool
    success: str
    success_ends: bool
    success_frames: int

    def __post_init__(self) -> None:
        self.filled("env_id", "control_mode")
        self.at_least(1, "max_episode_steps", "fps", "success_frames")
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
        shown = self.obs == "state" or len(self.cameras) > 0
        self.require(shown, "obs", "state where cameras names no camera, such as [render]")
        self._require_simulator()

    def _require_simulator(self) -> None:
        ours = self.simulator == "gymnasium"
        self.require((self.gymnasium is not None) == ours, "gymnasium", "given for simulator=gymnasium alone")
        self.require(not ours or self.control_mode == SCALED, "control_mode", f"{SCALED} for gymnasium")
        dense = "own" if ours else "normalized_dense"
        rule = f"sparse or {dense} for simulator={self.simulator}"
        self.require(self.reward_mode in ("sparse", dense), "reward_mode", rule)
        self.require(ours or self.obs != "pixels", "obs", "state or both for simulator=maniskill")

    @property
    def simulator_ends(self) -> bool:
        """Whether the simulator's own success ends an episode. That of a classifier always does."""
        return self.success_ends and self.classifier is None

    @property
    def classifier(self) -> Path | None:
        """The folder of the classifier that says when an episode has succeeded; None: the simulator does."""
        return Path(self.success.removeprefix(_CLASSIFIER)) if self.success.startswith(_CLASSIFIER) else None
