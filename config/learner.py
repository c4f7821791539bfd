"""Settings of the learner's process: config/learner.yaml, typed and checked."""

from typing import Any, Literal

from omegaconf import OmegaConf

from config.section import Section
from config.tracking import RunWandbConfig


def at_most(limit: int, setting: Any) -> Any:
    """`setting`, or `limit` where it is larger; in YAML `${at_most:<limit>,<setting>}`. What is no number is
    left to the checks of its own key."""
    return min(limit, setting) if isinstance(setting, int) else limit


OmegaConf.register_new_resolver("at_most", at_most, replace=True)


class StopAtConfig(Section, frozen=True):
    """learner.stop_at"""

    success: float
    evaluations: int

    def __post_init__(self) -> None:
        self.require(0 < self.success <= 1, "success", "in (0, 1]")
        # The journal keeps the newest ten for a learner that is started again.
        self.require(1 <= self.evaluations <= 10, "evaluations", "in 1 .. 10")


class EvaluationConfig(Section, frozen=True):
    """learner.evaluation"""

    episodes: int
    first_seed: int
    every_s: float
    interim_episodes: int
    num_envs: int
    nice: int
    final_timeout_s: float
    keep_versions: int
    videos: int
    videos_s: float

    def __post_init__(self) -> None:
        self.at_least(1, "episodes", "interim_episodes", "num_envs")
        self.at_least(0, "first_seed", "nice", "keep_versions", "videos")
        self.positive("every_s", "final_timeout_s", "videos_s")


class JournalConfig(Section, frozen=True):
    """learner.journal"""

    sync_s: float
    sync_bytes: int
    segment_bytes: int
    spare_segments: int
    pending_bytes: int

    def __post_init__(self) -> None:
        self.positive("sync_s")
        self.at_least(0, "spare_segments")
        self.at_least(1, "sync_bytes", "segment_bytes", "pending_bytes")


class LearnerConfig(Section, frozen=True):
    """config/learner.yaml"""

    total_frames: int
    stop_at: StopAtConfig | None
    device: str
    processes: int
    threads: int
    replay_capacity: int
    replay_device: str
    publish_every_s: float
    checkpoint_every_s: float
    log_every_s: float
    wait_log_every_s: float
    stall_timeout_s: float
    max_updates_behind: int
    demos: str | tuple[str, ...] | None
    demos_without_success: Literal["refuse", "last_frame"]
    demos_of_other_tasks: Literal["refuse", "accept"]
    interventions: bool
    robot_type: str
    fps: int
    record_images: Literal["video", "image"] | None
    replay_images: bool
    keep_features: bool
    hindsight_goals: int
    store_queue_episodes: int
    store_flush_s: float
    journal: JournalConfig
    robot_state_dim: int | None
    replay_max_gb: float | None
    replay_max_frames: int | None
    wandb: RunWandbConfig
    evaluation: EvaluationConfig

    def __post_init__(self) -> None:
        self.at_least(1, "total_frames", "processes", "threads", "replay_capacity", "fps")
        self.at_least(1, "store_queue_episodes")
        self.positive("publish_every_s", "checkpoint_every_s", "log_every_s", "wait_log_every_s")
        self.positive("stall_timeout_s", "store_flush_s")
        self.at_least(0, "max_updates_behind", "hindsight_goals")
        self.filled("demos", "device", "replay_device", "robot_type")
        for key in ("replay_max_gb", "replay_max_frames", "robot_state_dim"):
            value = getattr(self, key)
            self.require(value is None or value > 0, key, "above 0, or null")
