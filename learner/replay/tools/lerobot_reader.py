"""LeRobot's own reader, on a dataset of this disk: what it needs, whether it reads. Never asks the Hub."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# Annotations of lerobot and datasets leave type arguments open.

import contextlib
import copy
import logging
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
from datasets import config
from datasets.table import cast_array_to_feature
from huggingface_hub import constants
from lerobot.datasets.feature_utils import get_hf_features_from_features
from lerobot.datasets.io_utils import cast_stats_to_numpy
from lerobot.datasets.language import is_language_column
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import DatasetInfo

from learner.replay.dataset.format.layout import TASKS_PATH
from learner.replay.dataset.format.spec import DatasetError

_Dataset: Any = LeRobotDataset
_cast_cells: Any = cast_array_to_feature
type Features = datasets.Features

is_language = is_language_column
"""Whether a column of this name holds LeRobot's annotations in words."""


class NotReadError(DatasetError):
    """Something that LeRobot's reader refuses; the message says what."""


def frame_features(info: dict[str, Any]) -> Features:
    """The types of the columns of frames. Raises NotReadError: info.json does not say them."""
    # Of the many kinds of error, by what JSON may hold where a type or a shape should be.
    try:
        with _quiet():
            features = get_hf_features_from_features(DatasetInfo.from_dict(copy.deepcopy(info)).features)
            _ = features.arrow_schema
    except Exception as error:
        raise NotReadError(f"meta/info.json: LeRobot's reader refuses it: {_in_one_line(error)}") from error
    return features


def table_features(table: pa.Table) -> Features:
    """The types of the columns of a table in meta/episodes, as its first file says them."""
    return datasets.Features.from_arrow_schema(table.schema)


def cast(table: pa.Table, features: Features, listed_in: str) -> pa.Table:
    """The table as LeRobot's reader has it. Raises NotReadError: columns of other names or types."""
    if foreign := set(table.column_names) - set(features):
        raise NotReadError(f"has the columns {', '.join(sorted(foreign))}, which {listed_in} does not list")
    wanted = features.arrow_schema
    for at, name in enumerate(table.column_names):
        if table.schema.field(name).type == wanted.field(name).type:
            continue
        try:
            cells = _cast_cells(table[name], features[name])
        except (TypeError, ValueError, pa.ArrowException) as error:
            raise NotReadError(f"{name} is not {features[name]} as {listed_in} says") from error
        table = table.set_column(at, name, cells)
    return table


def check_stats(content: dict[str, Any]) -> None:
    """Raises NotReadError: LeRobot's reader refuses this content of stats.json."""
    try:
        cast_stats_to_numpy(content)
    except (AttributeError, TypeError, ValueError) as error:
        raise NotReadError(f"meta/stats.json: LeRobot's reader refuses it: {_in_one_line(error)}") from error


def read_tasks(folder: Path) -> pd.DataFrame:
    """Task texts as index, their numbers in a column. Raises NotReadError: no such table."""
    try:
        tasks = pd.read_parquet(folder / TASKS_PATH)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise NotReadError(f"{TASKS_PATH}: {_in_one_line(error)}") from error
    return tasks


def why_not_read(folder: Path, episodes: int) -> Iterator[str]:
    """Let LeRobot open the first and the last of so many episodes, and read a frame at either end.
    What it says if it fails, in one line."""
    chosen = sorted({0, episodes - 1})
    # A dozen kinds of error, from datasets, pandas, pyarrow, PyAV, torch and the Hub's client.
    try:
        with _apart():
            dataset = _Dataset("local/dataset", root=folder, episodes=chosen, video_backend="pyav")
            for at in (0, len(dataset) - 1):
                dataset[at]
    except Exception as error:
        yield f"LeRobot's reader fails: {type(error).__name__}: {_in_one_line(error)}"


@contextlib.contextmanager
def _apart() -> Generator[None]:
    """No network, and no copy of the frames in the user's cache."""
    with (
        tempfile.TemporaryDirectory() as cache,
        _set(constants, "HF_HUB_OFFLINE", True),
        _set(config, "HF_DATASETS_CACHE", Path(cache)),
        _quiet(),
    ):
        yield


@contextlib.contextmanager
def _set(module: object, name: str, value: object) -> Generator[None]:
    # The environment variables of these names are read once, when the libraries are imported.
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _in_one_line(error: Exception) -> str:
    # The last cause says what, those above it only where.
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
