"""Settings of an improvement in rounds: config/improve/main.yaml, typed and checked."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from config.algo import AlgoConfig
from config.base import DiffusionBaseConfig
from config.compose import CONFIG_DIR, compose_config, compose_section
from config.main import Config
from config.section import ConfigError, Section
from config.train_base import compose_training
from config.words import key_of, split_by_section

# Of these each step has its own.
_OF_EACH_STEP = ("resume", "learner.total_frames")


class ImproveConfig(Section, frozen=True):
    """config/improve/main.yaml"""

    name: str | None
    runs_dir: str
    rounds: int
    target: float
    seed: int
    frames: int
    successes: int
    demos: str | tuple[str, ...] | None
    start_from: Literal["base", "nothing"]
    run: tuple[str, ...]
    collect: tuple[str, ...]
    train: tuple[str, ...]
    episodes: int
    first_seed: int

    def __post_init__(self) -> None:
        self.at_least(1, "rounds", "frames", "successes", "episodes")
        self.at_least(0, "seed", "first_seed")
        self.require(0 < self.target <= 1, "target", "in (0, 1]")
        self.filled("runs_dir", "demos")
        self.plain_names("name")


class Improvement(NamedTuple):
    """What is asked for."""

    settings: ImproveConfig
    words: tuple[str, ...]
    """Keys of every run."""
    first: Config
    """As the first run would have it."""


def compose_improvement(overrides: Sequence[str]) -> Improvement:
    """config/improve/main.yaml and the configuration of the first run, checked.
    Raises ConfigError: in one line, naming the key."""
    own, words = split_by_section(overrides, ImproveConfig)
    settings = compose_section(CONFIG_DIR / "improve", own, ImproveConfig)
    if taken := [word for word in words if key_of(word) in _OF_EACH_STEP]:
        raise ConfigError(f"configuration: {taken[0]}: improve sets it itself (frames=N: of each round)")
    first = compose_config([*words, *settings.run])
    if not isinstance(first.base, DiffusionBaseConfig):
        raise ConfigError(
            f"configuration: base={first.base.__struct_config__.tag}: improve trains diffusion bases: choose "
            "base=diffusion"
        )
    demos = settings.demos or first.learner.demos
    if demos is None:
        raise ConfigError("configuration: learner.demos=null: name demonstrations with demos=FILE")
    _require_later_steps(first, words, settings)
    named = {"demos": demos, "name": settings.name or f"improve-{first.task.name}"}
    return Improvement(msgspec.structs.replace(settings, **named), tuple(words), first)


def _require_later_steps(first: Config, words: Sequence[str], settings: ImproveConfig) -> None:
    """Raise ConfigError now for what would stop a round after hours of RL."""
    if type(first.algo) is not AlgoConfig:  # algo=collect plays no residual of a package's kind
        raise ConfigError(
            f"configuration: algo={first.algo.name}: a round begins with a residual that algo=collect plays: "
            "choose algo=residual_td3"
        )
    compose_config([*without_algo(words), "algo=collect", "algo.successes=1", *settings.collect])
    try:
        compose_training([f"control_mode={first.task.control_mode}", *settings.train])
    except ConfigError as error:
        raise ConfigError(f"{error} (in train={[*settings.train]})") from error


def without_algo(words: Sequence[str]) -> list[str]:
    """`words` but those that choose or set an algorithm."""
    return [word for word in words if key_of(word).partition(".")[0] != "algo"]
