"""Dimensions of a task's observation and actions, known before any simulator of a run starts."""

import json
import subprocess
import sys
from functools import cache
from typing import NamedTuple

import msgspec

from config.process import UsageError
from config.section import ConfigError
from config.spaces import spaces_of
from config.task import TaskConfig

# A simulator of one environment takes seconds on an idle machine, a minute on a busy one.
_LONGEST_S = 600


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
    Raises ConfigError: the simulator cannot be built here; the message says why.
    UsageError: it can, and no run can play the task."""
    known = spaces_of(task)
    if known.observation_dim is not None and known.action_dim is not None:
        return Dimensions(known.observation_dim, known.action_dim)
    return _ask_simulator(task.env_id, msgspec.json.encode(task).decode())


@cache
def _ask_simulator(env_id: str, task: str) -> Dimensions:
    # In a process: a learner imports no simulator, and this one must be gone before others start.
    command = [sys.executable, "-W", "ignore", "-m", "actor.simulators.dimensions", task]
    try:
        asked = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LONGEST_S
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the dimensions of {env_id} are not known: no simulator in {_LONGEST_S} s"
        ) from error
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        raise ConfigError(f"the dimensions of {env_id} are not known: {said[-1].removeprefix('error: ')}")
    answer = json.loads(asked.stdout.splitlines()[-1])
    if isinstance(answer, str):
        raise UsageError(answer)
    return Dimensions(*answer)
