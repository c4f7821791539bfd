"""ManiSkill's demonstrations as a LeRobot dataset, with the pictures of cameras if they are asked for.

Runs in the main environment, since LeRobot wants numpy 2. `launch/demos/make_demos.py` starts it:

    python -m launch.demos.drawn SETTINGS_AS_JSON PATH_OF_THE_H5
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import h5py
import msgspec
import numpy as np
from tqdm import tqdm

from actor.simulators.recorded import RecordedStates
from config.demos import DemosConfig
from config.process import one_line, run_main
from launch.demos.dataset import new_dataset, say_dataset, state_dims, task_of
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import read_demonstrations

_Seed = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _Reset(msgspec.Struct):
    seed: _Seed | Annotated[list[_Seed], msgspec.Meta(min_length=1)]


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
    episodes = _read(path, task.env_id)
    # Importing lerobot takes seconds, and takes the log over unless it is set up already.
    from launch.demos.files import write_played

    if task.cameras:
        with closing(RecordedStates(task)) as shown:
            write_played(folder, with_pictures(episodes, path, shown), task, state)
    else:
        write_played(folder, episodes, task, state)
    say_dataset(folder, pictures=bool(task.cameras))
    return folder


def _read(path: Path, env_id: str) -> list[Demonstration]:
    read = read_demonstrations(path)
    if read.origin.env_id not in (None, env_id):
        raise DemonstrationError(
            f"{path} has demonstrations of task {read.origin.env_id}, this is {env_id}: move it away, or "
            "name its task"
        )
    return read.episodes


def with_pictures(
    episodes: Sequence[Demonstration], path: Path, shown: RecordedStates
) -> Iterator[Demonstration]:
    """The episodes of an h5 with what the cameras saw before each action, one after the other.
    Raises DemonstrationError: the h5 or the json beside it does not say how the simulator stood; before
    anything is drawn."""
    seeds = _seeds(path)
    total = sum(len(episode.actions) for episode in episodes)
    bar = tqdm(total=total, desc="drawing pictures", unit="frame", file=sys.stdout, mininterval=2)
    with h5py.File(path, "r", locking=False) as file, bar:
        _require_states(file, seeds, episodes, path)
        for number, episode in zip(sorted(seeds), episodes, strict=True):
            states = _tree(file[_states_of(number)])
            drawn = _drawn(episode, seeds[number], states, shown, f"{path}, traj_{number}")
            yield replace(episode, pictures=_stacked(drawn, bar))


def _drawn(
    episode: Demonstration, seed: int, states: Any, shown: RecordedStates, where: str
) -> Iterator[dict[str, np.ndarray]]:
    # The state that ManiSkill's conversion writes for the first frame is a later one.
    yield shown.first(seed, episode.observations[0], where)
    for frame in range(1, len(episode.actions)):
        yield shown.show(_at(states, frame), episode.observations[frame], f"{where}, frame {frame}")


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
        # Python's own writer leaves NaN in json, which msgspec refuses.
        episodes = msgspec.convert(json.loads(described.read_text()), _Described).episodes
    except (OSError, ValueError) as error:
        raise DemonstrationError(
            f"{described}, which names the seeds of the episodes that cameras are to show, cannot be used: "
            f"{one_line(error)}: make the demonstrations again, or without cameras"
        ) from error
    seeds = {each.episode_id: each.reset_kwargs.seed for each in episodes}
    return {number: seed if isinstance(seed, int) else seed[0] for number, seed in seeds.items()}


def _states_of(number: int) -> str:
    return f"traj_{number}/env_states"


def _require_states(
    file: Any, seeds: Mapping[int, int], episodes: Sequence[Demonstration], path: Path
) -> None:
    """Raise DemonstrationError unless each episode has a seed, and a state at each observation."""
    there = {name for name in file if name.startswith("traj_")}
    if (named := {f"traj_{number}" for number in seeds}) != there:
        raise DemonstrationError(
            f"{path} and the json beside it differ: {', '.join(sorted(named ^ there)[:4])} in one of them "
            "alone: take both from one place, or make the demonstrations again"
        )
    for number, episode in zip(sorted(seeds), episodes, strict=True):
        name = _states_of(number)
        states = _tree(file[name]) if name in file else {}
        lengths, frames = {array.shape[:1] for array in _arrays(states)}, len(episode.observations)
        if lengths != {(frames,)}:
            found = sorted(str(*length) or "a number" for length in lengths)
            raise DemonstrationError(
                f"{path}, traj_{number}: cameras show recorded states, and env_states has {found or 'none'} "
                f"where there are {frames} observations: record them with ManiSkill's replay_trajectory, or "
                "leave cameras out"
            )


def _tree(group: Any) -> Any:
    if isinstance(group, h5py.Dataset):
        return np.asarray(group[()])
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
