"""What a simulator says of a task, asked in a process of its own: this one imports no simulator."""

import subprocess
import sys
from functools import cache
from typing import NamedTuple

import msgspec

from config.process import UsageError
from config.section import ConfigError
from config.task import TaskConfig

# A simulator of one environment takes seconds on an idle machine, a minute on a busy one.
_LONGEST_S = 600


class Answer(NamedTuple):
    """Dimensions of an observation's parts by name, in their order, and of an action."""

    layout: dict[str, int]
    action_dim: int


def ask_simulator(task: TaskConfig) -> Answer:
    """Raises ConfigError: the simulator cannot be built here; the message says why.
    UsageError: it can, and no run can play the task."""
    # Where these may have names, they are not known yet.
    nameless = msgspec.structs.replace(task, relations={}, proprioception={})
    return _ask(task.env_id, msgspec.json.encode(nameless).decode())


@cache
def _ask(env_id: str, task: str) -> Answer:
    command = [sys.executable, "-W", "ignore", "-m", "actor.simulators.layout", task]
    try:
        asked = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_LONGEST_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the dimensions of {env_id} are not known: no simulator in {_LONGEST_S} s"
        ) from error
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        raise ConfigError(f"the dimensions of {env_id} are not known: {said[-1].removeprefix('error: ')}")
    try:
        answer = msgspec.json.decode(asked.stdout.strip().rpartition("\n")[2], type=Answer | str)
    except msgspec.DecodeError as error:  # a simulator may end the process itself, or print at its end
        raise ConfigError(
            f"the dimensions of {env_id} are not known: instead of them there is {asked.stdout[-80:]!r}"
        ) from error
    if isinstance(answer, str):
        raise UsageError(answer)
    return answer
