"""Lengths of observations and actions by task and control mode: config/spaces.yaml."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from omegaconf import OmegaConf

from config.section import Section
from config.task import SCALED, TaskConfig


class Spaces(NamedTuple):
    """Lengths of an observation and of an action; None if config/spaces.yaml does not say."""

    observation_dim: int | None
    action_dim: int | None
    absolute: bool
    """Actions leave [-1, 1]."""


class _File(Section, frozen=True):
    observations: dict[str, int]
    actions: dict[str, int]
    absolute: tuple[str, ...]
    gymnasium: dict[str, tuple[int, int]]


def spaces_of(task: TaskConfig) -> Spaces:
    """What is known of `task` without a simulator."""
    return known_spaces(task.env_id, task.control_mode)


def known_spaces(env_id: str, control_mode: str) -> Spaces:
    """As `spaces_of`, by names."""
    file = _read()
    if control_mode == SCALED:
        return Spaces(*file.gymnasium.get(env_id, (None, None)), absolute=False)
    observation_dim = file.observations.get(env_id)
    action_dim = None if observation_dim is None else file.actions.get(control_mode)
    return Spaces(observation_dim, action_dim, control_mode in file.absolute)


@cache
def _read() -> _File:
    path = Path(__file__).with_name("spaces.yaml")
    return msgspec.convert(OmegaConf.to_container(OmegaConf.load(path)), _File)
