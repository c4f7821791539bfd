"""The simulator of a configuration: processes on CPUs, one batch on a GPU."""

from __future__ import annotations

from actor.simulators.batched import BatchedEnvironment
from actor.simulators.contract import VectorEnvironment
from actor.simulators.maniskill import require_task
from config.task import TaskConfig


def make_environment(
    task: TaskConfig, backend: str, num_envs: int, seed: int, processes: int | None = None
) -> VectorEnvironment:
    """`num_envs` sub-environments of `task`; sub-environment i plays seeds seed + i + n * num_envs.

    CPU simulators run in up to `processes` processes; None: one less than there are processors.

    On `physx_cuda` only the first episodes are seeded one by one; the simulator's own generator
    goes on from there.

    Raises:
        TaskError: unknown task, control mode or camera, or unsuitable action space.
        RenderError: cameras, and nothing here that renders.
    """
    require_task(task.env_id, task.cameras)
    if backend == "physx_cpu":
        from actor.simulators.processes import ProcessEnvironment, shares

        return ProcessEnvironment(task, shares(num_envs, processes), seed)
    return BatchedEnvironment.make(task, backend, num_envs, seed)
