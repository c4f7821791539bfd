"""What each dimension of a task's observation means: residual-rl inspect [key=value ...]

Builds one simulator of the task (such as task=stack_cube) on the CPU and shows an episode's first
observation, with the indices that algo.relations, base.observation and learner.robot_state_dim use, and each
relation in metres. Connects to nothing.
"""

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from actor.policy.relations import Relations
from actor.simulators.adapters import simulator_of
from config.main import Config
from config.task import TaskConfig


def first_observation(task: TaskConfig, seed: int) -> dict[str, Tensor]:
    """Each part's name and values (n,), in their order. Raises TaskError: see its message."""
    return simulator_of(task).first_observation(task, seed)


def show(config: Config, console: Console) -> None:
    """Print both tables.
    Raises ConfigError, TaskError: relations that do not fit, and as `first_observation`."""
    task, relations = config.task, () if config.algo.plays is None else config.algo.plays.relations
    parts = first_observation(task, config.learner.evaluation.first_seed)
    table = Table("dimensions", "what", "first value", box=box.SIMPLE, title=f"observation of {task.env_id}")
    start = 0
    for name, values in parts.items():
        end = start + len(values)
        numbers = f"{start}" if end == start + 1 else f"{start} .. {end - 1}"
        table.add_row(numbers, name, _written(values))
        start = end
    console.print(table)
    if not relations:
        return
    related = Relations(relations, start)
    table = Table("algo.relations", "first value in metres: x, y, z", box=box.SIMPLE)
    metres = related.metres(torch.cat([*parts.values()])[None])[0]
    for relation, apart in zip(relations, metres, strict=True):
        table.add_row(relation.text, _written(apart))
    console.print(table)


def _written(values: Tensor) -> str:
    return " ".join(f"{value:.3f}" for value in values.tolist())
