"""The simulators that there are: a file of this package each, chosen by task.simulator."""

from actor.simulators import gymnasium, maniskill
from actor.simulators.contract import Simulator
from config.task import TaskConfig


def simulator_of(task: TaskConfig) -> Simulator:
    """What plays `task`."""
    match task.simulator:
        case "maniskill":
            return maniskill
        case "gymnasium":
            return gymnasium


def require_task(task: TaskConfig, *, draws: bool = False) -> None:
    """Raise TaskError unless the simulator of `task` knows it and has its files, RenderError for cameras, or
    where it `draws`, on a host that cannot draw. Imports the simulator, which may take seconds."""
    simulator_of(task).require(task, draws=draws)
