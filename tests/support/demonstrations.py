"""Files of demonstrations as people have them: small, made of a shipped base's, and each wrong in one way."""

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.helpers import ROOT

DEMOS = ROOT / "bases" / "PickCube-v1" / "demos.h5"
FRAMES, OBSERVATION, ACTION = 6, 42, 7
type Change = Callable[[Any, int], None]


@functools.cache
def shown(count: int = 3) -> tuple[Demonstration, ...]:
    """The ends of some shipped demonstrations, each with success at its last frame."""
    whole = read_demonstrations(DEMOS, Wanted(limit=count)).episodes
    return tuple(
        replace(
            one,
            observations=one.observations[-FRAMES - 1 :],
            actions=one.actions[-FRAMES:],
            success=np.arange(FRAMES) == FRAMES - 1,
        )
        for one in whole
    )


def unchanged(group: Any, number: int) -> None:
    """What is written as ManiSkill writes it."""


def write_h5(path: Path, change: Change = unchanged) -> Path:
    """A trajectory file as ManiSkill's recorder writes it, each episode changed by `change`."""
    with h5py.File(path, "w") as file:
        for number, episode in enumerate(shown()):
            group = file.create_group(f"traj_{number}", track_order=True)
            group["obs"], group["actions"] = episode.observations, episode.actions
            group["terminated"], group["truncated"] = episode.success, np.zeros(FRAMES, bool)
            group["success"] = episode.success
            change(group, number)
    return path


def put(name: str, value: Callable[[np.ndarray], Any], only: int | None = None) -> Change:
    """Replace an array of one episode, or of all, by what `value` makes of it; None removes it."""

    def change(group: Any, number: int) -> None:
        if only in (None, number):
            before = group[name][()]
            del group[name]
            if (after := value(before)) is not None:
                group[name] = after

    return change


def both(*changes: Change) -> Change:
    def change(group: Any, number: int) -> None:
        for one in changes:
            one(group, number)

    return change


def in_parts(*, ordered: bool) -> Change:
    """obs_mode state_dict: with the order in which the simulator gives the parts, as ManiSkill's recorder
    keeps it, or sorted by name, as HDF5 does without being asked."""

    def change(group: Any, number: int) -> None:
        whole = group["obs"][()]
        del group["obs"]
        obs = group.create_group("obs", track_order=ordered)
        agent, extra = (obs.create_group(name, track_order=ordered) for name in ("agent", "extra"))
        agent["qpos"], agent["qvel"] = whole[:, :9], whole[:, 9:18]
        # Not in the order of the alphabet, one without a second dimension, one of another type.
        extra["is_grasped"] = whole[:, 18]
        extra["tcp_pose"], extra["goal_pos"] = whole[:, 19:26], whole[:, 26:29].astype(np.float64)
        extra["obj_pose"] = whole[:, 29:]

    return change


def no_observations(group: Any, number: int) -> None:
    """obs_mode none: what ManiSkill's planner leaves."""
    del group["obs"]
    group.create_group("obs")


def describe(path: Path, **content: Any) -> None:
    """The json beside a trajectory file."""
    path.with_suffix(".json").write_text(json.dumps(content))


def feature(dtype: str, *shape: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "names": None}


STATE = {"observation.state": feature("float32", OBSERVATION), "action": feature("float32", ACTION)}
REWARD = {"next.reward": feature("float32", 1), "next.done": feature("bool", 1)}


def write_dataset(
    folder: Path,
    features: dict[str, Any] = STATE,
    frame: Callable[[dict[str, Any], int, int], dict[str, Any]] = lambda row, number, at: {},
    frames: int = FRAMES,
) -> Path:
    """A dataset by LeRobot's own writer; `frame(row, episode, frame)` is put over each row."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    made = LeRobotDataset.create(
        f"local/{folder.name}", root=folder, fps=20, robot_type="panda", features=features, use_videos=False
    )
    for number, episode in enumerate(shown()):
        for at in range(frames):
            row = {
                "observation.state": episode.observations[at],
                "action": episode.actions[at],
                "task": "pick",
            }
            made.add_frame(row | frame(row, number, at))
        made.save_episode()
    made.finalize()
    return folder


def copied(
    folder: Path, target: Path, table: Callable[[pa.Table], pa.Table] | None = None, **info: Any
) -> Path:
    """A copy of a dataset with its one data file changed by `table`, and keys of info.json (None: none)."""
    shutil.copytree(folder, target)
    if table is not None:
        path = target / "data/chunk-000/file-000.parquet"
        pq.write_table(table(pq.read_table(path)), path)
    place = target / "meta/info.json"
    content = json.loads(place.read_text()) | info
    place.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return target


def with_values(name: str, values: Callable[[np.ndarray], Any]) -> Callable[[pa.Table], pa.Table]:
    """A column as what `values` makes of its rows."""

    def change(table: pa.Table) -> pa.Table:
        rows = np.array(table[name].to_pylist())
        return table.set_column(table.column_names.index(name), name, pa.array(values(rows)))

    return change
