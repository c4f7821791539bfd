"""Settings of the base: config/base/, typed and checked."""

from pathlib import Path
from typing import Any, Literal

from config.files import broken_link
from config.section import Section


class BaseConfig(Section, frozen=True, tag_field="type"):
    """config/base, chosen with base=<type>"""

    path: str
    act_horizon: int

    def __post_init__(self) -> None:
        self.filled("path")
        self.at_least(1, "act_horizon")


def why_no_base(path: str, env_id: str) -> str:
    """The refusal where no folder of a diffusion base is at `path`, in words."""
    how = broken_link(Path(path) / "args.json") or (
        "check both names, or set base.path=<folder with args.json and checkpoints/best.pt>"
    )
    return f"no folder {path} with a base for task.env_id={env_id}: {how}"


class DiffusionBaseConfig(BaseConfig, frozen=True, tag="diffusion"):
    """config/base/diffusion.yaml"""

    inference_steps: int
    native: bool
    cuda_graph: bool
    pad_obs_to: int | None
    of_other_task: Literal["refuse", "accept"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1 <= self.inference_steps <= 100, "inference_steps", "in 1 .. 100")
        self.require(self.pad_obs_to is None or self.pad_obs_to >= 1, "pad_obs_to", "at least 1, or null")


class ZeroBaseConfig(BaseConfig, frozen=True, tag="zero"):
    """config/base/zero.yaml"""


class LeRobotBaseConfig(BaseConfig, frozen=True, tag="lerobot"):
    """config/base/lerobot.yaml"""

    control_mode: str
    observation: dict[str, tuple[int, int]] | None
    cameras: dict[str, str] | None
    instruction: str
    overrides: dict[str, Any] | None
