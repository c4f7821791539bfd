"""Small LeRobot datasets as people have them, and what LeRobot's own reader says of them."""

import contextlib
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.prior.demonstration import Demonstration

LENGTHS = (4, 3, 1)
TASKS = ("pick", "place", "pick")
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"

_PICTURE = {"shape": (32, 48, 3), "names": ["height", "width", "channels"]}

type Json = dict[str, Any]
type Rows = list[dict[str, Any]]


def feature(dtype: str, *shape: int) -> Json:
    return {"dtype": dtype, "shape": shape, "names": None}


STANDARD = {"observation.state": feature("float32", 4), "action": feature("float32", 2)}


def make_lerobot(
    folder: Path, lengths: tuple[int, ...] = LENGTHS, pictures: str | None = None, **others: Any
) -> Path:
    """Write episodes with LeRobot's own writer.
    `pictures`: image or video. `others`: dtype, shape and value of more features, by name."""
    features = STANDARD | {name: feature(dtype, *shape) for name, (dtype, shape, _) in others.items()}
    values = {name: value for name, (_, _, value) in others.items()}
    if pictures is not None:
        features |= {"observation.images.top": {"dtype": pictures, **_PICTURE}}
        values |= {"observation.images.top": np.zeros((32, 48, 3), np.uint8)}
    dataset = LeRobotDataset.create(
        f"local/{folder.name}", fps=20, root=folder, robot_type="panda", features=features,
        use_videos=pictures == "video", video_backend="pyav",
    )  # fmt: skip
    for episode, length in enumerate(lengths):
        for frame in range(length):
            numbers = np.float32(100 * episode + frame) + np.arange(4, dtype=np.float32)
            row = {"observation.state": numbers, "action": -numbers[:2], "task": TASKS[episode % len(TASKS)]}
            dataset.add_frame(row | values)
        dataset.save_episode()
    dataset.finalize()
    return folder


def write_lerobot(folder: Path, episodes: Sequence[Demonstration], state: int) -> Path:
    """Write demonstrations with LeRobot's own writer: `state` dimensions as state, the rest beside it."""
    observation, action = episodes[0].observations.shape[1], episodes[0].actions.shape[1]
    features = {
        "observation.state": feature("float32", state),
        "observation.environment_state": feature("float32", observation - state),
        "action": feature("float32", action),
    }
    dataset = LeRobotDataset.create(
        f"local/{folder.name}", fps=20, root=folder, features=features, use_videos=False
    )
    for episode in episodes:
        for seen, done in zip(episode.observations[:-1], episode.actions, strict=True):
            split = {"observation.state": seen[:state], "observation.environment_state": seen[state:]}
            dataset.add_frame(split | {"action": done, "task": "pick"})
        dataset.save_episode()
    dataset.finalize()
    return folder


def edit_info(folder: Path, change: Callable[[Json], object]) -> None:
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def edit_column(path: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change a column's values, and keep its type if they fit it."""

    def edit(table: pa.Table) -> pa.Table:
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        values = change(table[name].to_pylist())
        try:
            cells = pa.array(values, field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            cells = pa.array(values)
        return table.set_column(at, name, cells)

    edit_table(path, edit)


def why_lerobot_fails(folder: Path, cache: Path) -> str | None:
    """Read every frame of a dataset with LeRobot, and an action after it; what went wrong, or None."""
    try:
        with _offline(cache):
            _read_all(folder)
    except Exception as error:  # whatever the reader may raise is the answer
        return f"{type(error).__name__}: {error}"
    return None


@contextlib.contextmanager
def _offline(cache: Path) -> Generator[None]:
    with (
        mock.patch("huggingface_hub.constants.HF_HUB_OFFLINE", True),
        mock.patch("datasets.config.HF_DATASETS_CACHE", cache),
    ):
        yield


def _read_all(folder: Path) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    ahead = {"action": [0.0, 1 / info["fps"]]} if "action" in info["features"] else None
    dataset = LeRobotDataset("tests/whole", folder, video_backend="pyav", delta_timestamps=ahead)
    rows = sum(pq.read_metadata(path).num_rows for path in (folder / "data").glob("*/*.parquet"))
    assert len(dataset) == rows > 0, "it does not count all frames"
    held: dict[int, list[int]] = {}
    for row in range(rows):
        item = dataset[row]
        assert isinstance(item["task"], str), "a task without a text"
        assert all(value is not None for value in item.values()), "an empty value"
        if ahead is not None:
            alone = dataset.hf_dataset[row]["action"]
            assert torch.allclose(item["action"][0], alone, equal_nan=True), "another frame's action"
        held.setdefault(int(item["episode_index"]), []).append(row)
    episodes = dataset.meta.episodes
    assert len(held) == len(episodes) == dataset.num_episodes, "it does not count all episodes"
    for at, episode in enumerate(episodes):
        assert held[at] == list(range(episode["dataset_from_index"], episode["dataset_to_index"]))
    assert len(LeRobotDataset("tests/whole", folder, episodes=[0])) == len(held[0])
