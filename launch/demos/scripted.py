"""Demonstrations of a scripted expert, in the layout of ManiSkill's files."""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from actor.experts.contract import Act, Row
from actor.experts.table import EXPERTS
from actor.simulators.adapters import require_task, simulator_of
from actor.simulators.cameras import STATE
from config.demos import DemosConfig
from config.files import require_writable
from config.process import FailedError, UsageError
from config.task import TaskConfig
from config.tasks import EXPERT_FILE
from launch.demos.dataset import new_dataset, say_dataset, state_dims
from launch.demos.disturbance import Pushes
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.origin import Origin

log = logging.getLogger("demos")

_GRIPPER = 1
"""Last dimensions of an action that no push is on: fingers that open drop what they hold."""


def demonstrate(settings: DemosConfig, task: TaskConfig) -> Path:
    """Let the task's expert play seeds until enough of them succeeded; returns the path of the h5.

    Args:
        task: with the cameras whose pictures the LeRobot dataset has.

    Raises UsageError: no expert for the task, settings that no expert has, no simulator for it, or no such
    camera. FailedError: too few attempts succeeded."""
    expert = EXPERTS.get(settings.task)
    if expert is None or settings.source != "plan":
        raise UsageError(
            f"task={settings.task} with source={settings.source} has no demonstrations: source=plan has "
            f"scripted experts for {', '.join(EXPERTS)}; record others as an h5 or a LeRobot dataset"
        )
    folder = Path(settings.out) / settings.task
    require_writable(folder, folder=True)
    state = state_dims(settings, task)
    dataset = new_dataset(folder) if settings.writes_dataset else None
    require_task(task)
    env = simulator_of(task).single_environment(task, settings.first_seed, 1)
    try:
        played = _played(env, expert.act, settings)
        episodes = list(played) if dataset is None else _written(dataset, played, task, state)
    finally:
        env.close()
    path = folder / EXPERT_FILE
    write_maniskill(path, episodes, Origin(settings.task, (settings.control_mode,)))
    log.info("demonstrations: %s", path)
    if dataset is not None:
        say_dataset(dataset, pictures=bool(settings.cameras))
    return path


def _written(
    dataset: Path, played: Iterable[Demonstration], task: TaskConfig, state: Sequence[int] | None
) -> list[Demonstration]:
    from launch.demos.files import write_played

    return write_played(dataset, played, task, state)


def _played(env: gymnasium.Env, expert: Act, settings: DemosConfig) -> Iterator[Demonstration]:
    pushes = Pushes(settings.noise, settings.first_seed) if settings.noise else None
    kept, limit = 0, settings.episodes * settings.max_attempts_per_episode
    with tqdm(
        total=settings.episodes, desc=f"playing {settings.task}", file=sys.stdout, mininterval=2
    ) as bar:
        for _ in range(limit):
            episode = play(env, expert, pushes)
            if settings.keep == "all" or episode.success[-1]:
                bar.update()
                kept += 1
                yield episode
            if kept == settings.episodes:
                return
    raise FailedError(
        f"{settings.task}: only {kept} of {limit} attempts succeeded: raise max_attempts_per_episode, or "
        "push less with noise"
    )


def play(env: gymnasium.Env, expert: Act, pushes: Pushes | None = None) -> Demonstration:
    """One episode. What is recorded behind a push is the expert's way back (`launch.demos.disturbance`)."""
    row, shown = _parts(env.reset()[0])
    rows, actions, executed, success = [row], [], [], []
    pictures: dict[str, list[Any]] = {camera: [] for camera in shown}
    if pushes is not None:
        pushes.begin_episode()
    ended = False
    while not ended:
        action = expert(row)
        pushed = action.copy()
        if pushes is not None:
            pushed[:-_GRIPPER] += pushes.next(len(action) - _GRIPPER)
        for camera, picture in shown.items():
            pictures[camera].append(picture)
        observation, _, terminated, truncated, info = env.step(pushed.clip(-1, 1))
        row, shown = _parts(observation)
        ended = terminated or truncated
        rows.append(row)
        actions.append(action)
        executed.append(pushed.clip(-1, 1))
        success.append(info["success"])
    return Demonstration(
        observations=np.stack(rows),
        actions=np.stack(actions),
        success=np.array(success),
        executed=None if pushes is None else np.stack(executed),
        pictures={camera: np.stack(each) for camera, each in pictures.items()},
    )


def _parts(observation: Any) -> tuple[Row, Mapping[str, Any]]:
    """The state, and the pictures of cameras if there are any."""
    if isinstance(observation, np.ndarray):
        return observation, {}
    return observation[STATE], {name: each for name, each in observation.items() if name != STATE}
