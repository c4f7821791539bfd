"""Layouts of observations and lengths of actions by task and control mode: config/spaces.yaml."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from omegaconf import OmegaConf

from config.section import Section
from config.task import SCALED, TaskConfig

BLIND = {"nothing": 1}
"""The layout of a state that has none, of task.obs=pixels: one dimension that is always 0."""


class Spaces(NamedTuple):
    """Of a task in a control mode; None if config/spaces.yaml does not say."""

    layout: dict[str, int] | None
    """Dimensions of each part of an observation by its name, in their order."""
    action_dim: int | None
    absolute: bool
    """Actions leave [-1, 1]."""

    @property
    def observation_dim(self) -> int | None:
        return None if self.layout is None else sum(self.layout.values())


class _GymnasiumTask(Section, frozen=True):
    observation: dict[str, int]
    action: int


class _File(Section, frozen=True):
    observations: dict[str, dict[str, int]]
    actions: dict[str, int]
    absolute: tuple[str, ...]
    gymnasium: dict[str, _GymnasiumTask]


def spaces_of(task: TaskConfig) -> Spaces:
    """What is known of `task` without a simulator."""
    known = known_spaces(task.env_id, task.control_mode)
    return known._replace(layout=BLIND) if task.obs == "pixels" else known


def known_spaces(env_id: str, control_mode: str) -> Spaces:
    """As `spaces_of`, by names."""
    file = _read()
    if control_mode == SCALED:
        known = file.gymnasium.get(env_id)
        return Spaces(known and known.observation, known and known.action, absolute=False)
    absolute = control_mode in file.absolute
    # The observation of another mode may have its state as well.
    layout = file.observations.get(env_id) if absolute or control_mode in file.actions else None
    return Spaces(layout, None if layout is None else file.actions.get(control_mode), absolute)


@cache
def _read() -> _File:
    path = Path(__file__).with_name("spaces.yaml")
    return msgspec.convert(OmegaConf.to_container(OmegaConf.load(path)), _File)
