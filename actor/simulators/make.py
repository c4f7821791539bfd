"""The simulator of a configuration: processes on CPUs, one batch on a GPU."""

from actor.policy.classifier.files import load_classifier
from actor.simulators.adapters import require_task
from actor.simulators.batched import BatchedEnvironment
from actor.simulators.contract import TaskError, VectorEnvironment
from actor.simulators.judged import JudgedEnvironment
from config.task import TaskConfig


def make_environment(
    task: TaskConfig,
    backend: str,
    num_envs: int,
    seed: int,
    processes: int | None = None,
    picture: tuple[int, int] | None = None,
    device: str = "cpu",
    alike: int = 1,
) -> VectorEnvironment:
    """`num_envs` sub-environments of `task`; sub-environment i plays seeds seed + i + n * num_envs.

    On `physx_cuda` only the first episodes have seeds of their own; later ones come from the simulator's
    generator.

    Args:
        processes: for CPU simulators, at most; None: one less than there are processors.
        picture: width and height of what `picture` returns; None, and on a GPU: nothing.
        device: torch device of the classifier of `task.success`.
        alike: so many sub-environments beside one another play the same seeds, those that the first of them
            would play alone; it divides `num_envs` and `seed`. On `physx_cpu` alone.

    Raises:
        CheckpointError: a classifier that cannot be read, or is not of this task.
        TaskError: unknown task, control mode or camera, or unsuitable action space.
        RenderError: cameras, and nothing here that renders.
    """
    if task.simulator != "maniskill" and backend != "physx_cpu":
        raise TaskError(
            f"actor.backend={backend} is a backend of ManiSkill, task.simulator={task.simulator} runs on "
            "processors: set actor.backend=physx_cpu"
        )
    require_task(task)
    if task.classifier is None:
        return _make_simulators(task, backend, num_envs, seed, processes, picture, alike)
    classifier = load_classifier(task.classifier, task, device)
    simulators = _make_simulators(task, backend, num_envs, seed, processes, picture, alike)
    return JudgedEnvironment(simulators, classifier, task.success_frames)


def _make_simulators(
    task: TaskConfig,
    backend: str,
    num_envs: int,
    seed: int,
    processes: int | None,
    picture: tuple[int, int] | None,
    alike: int,
) -> VectorEnvironment:
    if backend == "physx_cpu":
        from actor.simulators.processes import ProcessEnvironment, shares

        return ProcessEnvironment(task, shares(num_envs, processes), seed, picture, alike)
    return BatchedEnvironment.make(task, backend, num_envs, seed)
