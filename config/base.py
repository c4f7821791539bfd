"""Settings of the base: config/base/, typed and checked."""

from pathlib import Path
from typing import Any, Literal

from config.files import broken_link
from config.section import Section
from config.task import TaskConfig

Ranges = tuple[tuple[int, int], ...]
"""Dimensions [first, end), one range after another."""


class BaseConfig(Section, frozen=True, tag_field="type"):
    """config/base, chosen with base=<type>"""

    path: str
    act_horizon: int

    def __post_init__(self) -> None:
        self.filled("path")
        self.at_least(1, "act_horizon")


KEY_OF_KIND = {"diffusion": "unet_dims", "behaviour_transformer": "n_clusters"}
"""Of bases in the published layout: a key of args.json that this kind alone has."""


def kind_of(arguments: object) -> str | None:
    """The kind of base that the content of an args.json is of; None: it does not say."""
    found = [kind for kind, key in KEY_OF_KIND.items() if isinstance(arguments, dict) and key in arguments]
    return found[0] if len(found) == 1 else None


def why_no_base(path: str, env_id: str) -> str:
    """The refusal where no folder of a base in the published layout is at `path`, in words."""
    how = broken_link(Path(path) / "args.json") or (
        "check both names, or set base.path=<folder with args.json and checkpoints/best.pt>"
    )
    return f"no folder {path} with a base for task.env_id={env_id}: {how}"


class PublishedBaseConfig(BaseConfig, frozen=True):
    """What bases in the published layout, args.json and checkpoints/best.pt, have in common"""

    pad_obs_to: int | None
    of_other_task: Literal["refuse", "accept"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.pad_obs_to is None or self.pad_obs_to >= 1, "pad_obs_to", "at least 1, or null")


class DiffusionBaseConfig(PublishedBaseConfig, frozen=True, tag="diffusion"):
    """config/base/diffusion.yaml"""

    inference_steps: int
    native: bool
    cuda_graph: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1 <= self.inference_steps <= 100, "inference_steps", "in 1 .. 100")


class BehaviourTransformerBaseConfig(PublishedBaseConfig, frozen=True, tag="behaviour_transformer"):
    """config/base/behaviour_transformer.yaml"""

    dropout: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.act_horizon == 1, "act_horizon", "1, since it plans one action at a time")
        self.require(0 <= self.dropout < 1, "dropout", "in [0, 1)")


class ZeroBaseConfig(BaseConfig, frozen=True, tag="zero"):
    """config/base/zero.yaml"""


class LeRobotBaseConfig(BaseConfig, frozen=True, tag="lerobot"):
    """config/base/lerobot.yaml"""

    control_mode: str
    observation: dict[str, Literal["proprioception"] | tuple[int | tuple[int, int], ...]] | None
    cameras: dict[str, str] | None
    instruction: str
    overrides: dict[str, Any] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = all(_is_chosen(value) for value in (self.observation or {}).values())
        self.require(fits, "observation", "by feature [first, end), a list of such ranges, or proprioception")

    def ranges(self, task: TaskConfig) -> dict[str, Ranges] | None:
        """`observation` in one form, of each feature the dimensions of the task's observation."""
        if self.observation is None:
            return None
        return {name: _ranges(value, task) for name, value in self.observation.items()}


def _is_chosen(value: str | tuple[int | tuple[int, int], ...]) -> bool:
    if isinstance(value, str):
        return True
    numbers = sum(isinstance(each, int) for each in value)
    return len(value) > 0 and (numbers == 0 or numbers == len(value) == 2)


def _ranges(value: str | tuple[int | tuple[int, int], ...], task: TaskConfig) -> Ranges:
    if isinstance(value, str):
        return task.proprioception.get(task.env_id, ())
    numbers = [each for each in value if isinstance(each, int)]
    return ((numbers[0], numbers[1]),) if numbers else tuple(e for e in value if isinstance(e, tuple))
