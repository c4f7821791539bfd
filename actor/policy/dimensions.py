"""Dimensions of a task's observation and actions, known before any simulator of a run starts."""

from typing import NamedTuple

from config.asked import ask_simulator
from config.section import ConfigError
from config.spaces import spaces_of
from config.task import TaskConfig


class Dimensions(NamedTuple):
    """Of an observation and of an action."""

    observation_dim: int
    action_dim: int


def require_bounded(task: TaskConfig) -> None:
    """Raise ConfigError if the task's actions leave [-1, 1], where those of bases lie."""
    if spaces_of(task).absolute:
        raise ConfigError(
            f"task.control_mode={task.control_mode} has actions outside [-1, 1], bases plan inside: choose "
            "a delta control mode such as pd_ee_delta_pose, and a base that was trained for it"
        )


def dimensions_of(task: TaskConfig) -> Dimensions:
    """`task.sizes`, else as `simulated_dimensions`."""
    if task.sizes is not None:
        return Dimensions(*task.sizes)
    try:
        return simulated_dimensions(task)
    except ConfigError as error:
        raise ConfigError(f"{error} (set task.sizes=[<observation dimension>,<action dimension>])") from error


def simulated_dimensions(task: TaskConfig) -> Dimensions:
    """From config/spaces.yaml, else from a simulator in a process of its own.
    Raises ConfigError, UsageError: see `ask_simulator`."""
    known = spaces_of(task)
    if known.observation_dim is not None and known.action_dim is not None:
        return Dimensions(known.observation_dim, known.action_dim)
    asked = ask_simulator(task)
    return Dimensions(sum(asked.layout.values()), asked.action_dim)
