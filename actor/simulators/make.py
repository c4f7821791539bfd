"""The simulator of a configuration: processes on CPUs, one batch on a GPU."""

from actor.simulators.adapters import require_task
from actor.simulators.batched import BatchedEnvironment
from actor.simulators.contract import TaskError, VectorEnvironment
from config.task import TaskConfig


def make_environment(
    task: TaskConfig,
    backend: str,
    num_envs: int,
    seed: int,
    processes: int | None = None,
    picture: tuple[int, int] | None = None,
) -> VectorEnvironment:
    """`num_envs` sub-environments of `task`; sub-environment i plays seeds seed + i + n * num_envs.

    On `physx_cuda` only the first episodes have seeds of their own; later ones come from the simulator's
    generator.

    Args:
        processes: for CPU simulators, at most; None: one less than there are processors.
        picture: width and height of what `picture` returns; None, and on a GPU: nothing.

    Raises:
        TaskError: unknown task, control mode or camera, or unsuitable action space.
        RenderError: cameras, and nothing here that renders.
    """
    if task.simulator != "maniskill" and backend != "physx_cpu":
        raise TaskError(
            f"actor.backend={backend} is a backend of ManiSkill, task.simulator={task.simulator} runs on "
            "processors: set actor.backend=physx_cpu"
        )
    require_task(task)
    if backend == "physx_cpu":
        from actor.simulators.processes import ProcessEnvironment, shares

        return ProcessEnvironment(task, shares(num_envs, processes), seed, picture)
    return BatchedEnvironment.make(task, backend, num_envs, seed)
