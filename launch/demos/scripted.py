"""Demonstrations of a scripted expert, in the layout of ManiSkill's files."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
from tqdm import tqdm

from actor.simulators.adapters import require_task, simulator_of
from config.demos import DemosConfig
from config.files import require_writable
from config.process import FailedError, UsageError
from config.task import TaskConfig
from config.tasks import EXPERT_FILE
from launch.demos.disturbance import Pushes
from launch.demos.experts import EXPERTS, Expert
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.origin import Origin

log = logging.getLogger("demos")

_GRIPPER = 1
"""Last dimensions of an action that no push is on: fingers that open drop what they hold."""


def demonstrate(settings: DemosConfig, task: TaskConfig) -> Path:
    """Let the task's expert play seeds until enough of them succeeded; returns the path of the h5.
    Raises UsageError: no expert for the task, settings that no expert has, or no simulator for it.
    FailedError: too few attempts succeeded."""
    expert = EXPERTS.get(settings.task)
    if expert is None or settings.source != "plan":
        raise UsageError(
            f"task={settings.task} with source={settings.source} has no demonstrations: source=plan has "
            f"scripted experts for {', '.join(EXPERTS)}; record others as an h5 or a LeRobot dataset"
        )
    folder = Path(settings.out) / settings.task
    require_writable(folder, folder=True)
    require_task(task)
    env = simulator_of(task).single_environment(task, settings.first_seed, 1)
    try:
        episodes = list(_played(env, expert, settings))
    finally:
        env.close()
    path = folder / EXPERT_FILE
    write_maniskill(path, episodes, Origin(settings.task, (settings.control_mode,)))
    log.info("demonstrations: %s", path)
    return path


def _played(env: gymnasium.Env, expert: Expert, settings: DemosConfig) -> Iterator[Demonstration]:
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


def play(env: gymnasium.Env, expert: Expert, pushes: Pushes | None = None) -> Demonstration:
    """One episode. What is recorded behind a push is the expert's way back (`launch.demos.disturbance`)."""
    row, _ = env.reset()
    rows, actions, executed, success = [row], [], [], []
    if pushes is not None:
        pushes.begin_episode()
    ended = False
    while not ended:
        action = expert(row)
        pushed = action.copy()
        if pushes is not None:
            pushed[:-_GRIPPER] += pushes.next(len(action) - _GRIPPER)
        row, _, terminated, truncated, info = env.step(pushed.clip(-1, 1))
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
    )
