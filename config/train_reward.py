"""Settings of the training of a success classifier: config/train_reward/main.yaml, typed and checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from config.compose import CONFIG_DIR, compose_config, compose_section
from config.relation import Relation
from config.section import ConfigError, Section
from config.task import TaskConfig
from config.words import split_by_section


class TrainRewardConfig(Section, frozen=True):
    """config/train_reward/main.yaml"""

    demos: str | tuple[str, ...] | None
    demos_without_success: Literal["refuse", "last_frame"]
    demos_of_other_tasks: Literal["refuse", "accept"]
    out: str
    input: Literal["states", "pictures"]
    precision: float
    folds: int
    near_frames: int
    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    hidden: tuple[int, ...]
    observation_noise: float
    encoder: str
    seed: int
    device: str
    threads: int

    def __post_init__(self) -> None:
        self.filled("demos", "out", "encoder", "device")
        self.at_least(1, "steps", "threads")
        self.at_least(2, "folds", "batch_size")
        self.at_least(0, "near_frames", "weight_decay", "observation_noise", "seed")
        self.positive("lr")
        self.require(0 < self.precision <= 1, "precision", "in (0, 1]")
        self.require(min(self.hidden, default=0) >= 1, "hidden", "one width or more, each at least 1")

    @property
    def sources(self) -> tuple[str, ...]:
        """Where labelled episodes come from, one after the other."""
        demos = self.demos or ()
        return (demos,) if isinstance(demos, str) else demos

    @property
    def folder(self) -> Path:
        """Where the classifier goes."""
        return Path(self.out)


class RewardTraining(NamedTuple):
    """What is asked for."""

    settings: TrainRewardConfig
    task: TaskConfig
    trust_remote_code: bool

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Those that the residual sees of the task."""
        return self.task.relations.get(self.task.env_id, ())


def compose_reward_training(overrides: Sequence[str]) -> RewardTraining:
    """config/train_reward/main.yaml, and the task of a run, checked.
    Raises ConfigError: in one line, naming the key."""
    own, words = split_by_section(overrides, TrainRewardConfig)
    settings = compose_section(CONFIG_DIR / "train_reward", own, TrainRewardConfig)
    run = compose_config(words)
    demos = settings.demos or run.learner.demos
    if demos is None:
        raise ConfigError("configuration: demos=null: name labelled episodes, demos=[FILE, runs/NAME/replay]")
    if settings.input == "pictures" and not run.task.cameras:
        raise ConfigError("configuration: input=pictures needs cameras: set task.cameras=[base_camera]")
    settings = msgspec.structs.replace(settings, demos=demos)
    return RewardTraining(settings, run.task, run.trust_remote_code)
