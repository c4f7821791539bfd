"""ManiSkill's demonstrations as a LeRobot dataset, with the pictures of cameras if they are asked for.

Runs in the main environment, since LeRobot wants numpy 2. `launch/demos/make_demos.py` starts it:

    python -m launch.demos.drawn SETTINGS_AS_JSON PATH_OF_THE_H5
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from tqdm import tqdm

from actor.simulators.recorded import RecordedStates
from config.demos import DemosConfig
from config.process import run_main
from launch.demos.dataset import new_dataset, say_dataset, state_dims, task_of
from launch.demos.files import write_played
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import read_demonstrations


class _Reset(msgspec.Struct):
    seed: int | list[int]


class _Episode(msgspec.Struct):
    episode_id: int
    reset_kwargs: _Reset


class _Described(msgspec.Struct):
    """The json that ManiSkill writes beside a trajectory file."""

    episodes: list[_Episode]


def write_dataset(settings: DemosConfig, path: Path) -> Path:
    """Write the demonstrations of an h5 as a LeRobot dataset beside it; returns its folder.

    Raises:
        DemonstrationError: the h5 cannot be read, has no states to draw, or the dataset cannot be written.
        UsageError: the task does not say which numbers are the robot's own.
        TaskError, RenderError: as `RecordedStates`.
    """
    task = task_of(settings)
    state = state_dims(settings, task)
    folder = new_dataset(path.parent)
    episodes = read_demonstrations(path).episodes
    if task.cameras:
        with closing(RecordedStates(task)) as shown:
            write_played(folder, with_pictures(episodes, path, shown), task, state)
    else:
        write_played(folder, episodes, task, state)
    say_dataset(folder, pictures=bool(task.cameras))
    return folder


def with_pictures(
    episodes: Iterable[Demonstration], path: Path, shown: RecordedStates
) -> Iterator[Demonstration]:
    """The episodes of an h5 with what the cameras saw before each action, one after the other.
    Raises DemonstrationError: the h5 or the json beside it does not say how the simulator stood."""
    episodes = [*episodes]
    seeds = _seeds(path)
    total = sum(len(episode.actions) for episode in episodes)
    bar = tqdm(total=total, desc="drawing pictures", unit="frame", file=sys.stdout, mininterval=2)
    with bar, h5py.File(path, "r", locking=False) as file:
        for number, episode in zip(sorted(seeds), episodes, strict=True):
            states = _states(file, number, len(episode.observations), path)
            drawn = _drawn(episode, seeds[number], states, shown)
            yield replace(episode, pictures=_stacked(drawn, bar))


def _drawn(
    episode: Demonstration, seed: int, states: Any, shown: RecordedStates
) -> Iterator[dict[str, np.ndarray]]:
    # The state that ManiSkill's conversion writes for the first frame is a later one.
    yield shown.first(seed, episode.observations[0])
    for frame in range(1, len(episode.actions)):
        yield shown.show(_at(states, frame), episode.observations[frame])


def _stacked(drawn: Iterable[dict[str, np.ndarray]], bar: Any) -> dict[str, np.ndarray]:
    """Pictures (height, width, 3) of each frame as one array (T, height, width, 3) for each camera."""
    pictures: dict[str, list[np.ndarray]] = {}
    for each in drawn:
        for camera, picture in each.items():
            pictures.setdefault(camera, []).append(picture.copy())
        bar.update()
    return {camera: np.stack(each) for camera, each in pictures.items()}


def _seeds(path: Path) -> dict[int, int]:
    """The seed of each episode by its number."""
    described = path.with_suffix(".json")
    try:
        episodes = msgspec.json.decode(described.read_bytes(), type=_Described).episodes
    except (OSError, msgspec.DecodeError) as error:
        raise DemonstrationError(
            f"{described}, which names the seeds of the episodes that cameras are to show, cannot be read: "
            f"{error}: make the demonstrations again, or without cameras"
        ) from error
    seeds = {each.episode_id: each.reset_kwargs.seed for each in episodes}
    return {number: seed if isinstance(seed, int) else seed[0] for number, seed in seeds.items()}


def _states(file: Any, number: int, frames: int, path: Path) -> Any:
    """Recorded states of an episode: a tree of arrays (frames, n)."""
    name = f"traj_{number}/env_states"
    states = _tree(file[name]) if name in file else {}
    lengths = {len(array) for array in _arrays(states)}
    if lengths != {frames}:
        raise DemonstrationError(
            f"{path}, traj_{number}: cameras show recorded states, and env_states has "
            f"{sorted(lengths) or 'none'} where there are {frames} observations: record them with "
            "ManiSkill's replay_trajectory, or leave cameras out"
        )
    return states


def _tree(group: Any) -> Any:
    if isinstance(group, h5py.Dataset):
        return group[()]
    return {name: _tree(part) for name, part in group.items()}


def _arrays(tree: Any) -> Iterator[np.ndarray]:
    if isinstance(tree, np.ndarray):
        yield tree
    else:
        for part in tree.values():
            yield from _arrays(part)


def _at(tree: Any, frame: int) -> Any:
    return (
        tree[frame] if isinstance(tree, np.ndarray) else {key: _at(part, frame) for key, part in tree.items()}
    )


def main(argv: list[str]) -> int:
    """Settings as `make_demos` has them, and the h5."""
    write_dataset(msgspec.json.decode(argv[0], type=DemosConfig), Path(argv[1]))
    return 0


if __name__ == "__main__":
    run_main(main)
