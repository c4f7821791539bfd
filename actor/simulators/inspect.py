"""What each dimension of a task's observation means: residual-rl inspect [key=value ...]

Builds one simulator of the task (such as task=stack_cube) on the CPU and shows an episode's first
observation: the names that algo.relations, algo.proprioception and `residual-rl evaluate --by` take, the
indices that base.observation and learner.robot_state_dim take, and each relation in metres. Connects to
nothing.
"""

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from actor.policy.relations import Relations
from actor.simulators.adapters import simulator_of
from config.layout import name_of, parts_of
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
    layout = {name: len(values) for name, values in parts.items()}
    for part in parts_of(layout):
        numbers = f"{part.start}" if part.end == part.start + 1 else f"{part.start} .. {part.end - 1}"
        table.add_row(numbers, part.name, _written(parts[part.name]))
    console.print(table)
    if not relations:
        return
    related = Relations(relations, sum(layout.values()))
    table = Table("algo.relations", "first value in metres: x, y, z", box=box.SIMPLE)
    metres = related.metres(torch.cat([*parts.values()])[None])[0]
    for relation, apart in zip(relations, metres, strict=True):
        table.add_row(relation.described(lambda index: name_of(index, layout)), _written(apart))
    console.print(table)


def _written(values: Tensor) -> str:
    return " ".join(f"{value:.3f}" for value in values.tolist())
