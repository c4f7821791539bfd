"""The features of info.json, as the columns of the frames show them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import column_names, read_parquet
from learner.replay.dataset.format.layout import INFO_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.tools.description import wrong_info
from learner.replay.tools.lerobot_reader import Features, frame_features
from learner.replay.tools.rebuild.draft import COUNTS, Draft

AUTOMATIC = {"timestamp": "float32"} | dict.fromkeys(
    ("frame_index", "episode_index", "index", "task_index"), "int64"
)
"""Columns that every dataset has, and that can be computed."""


def mend_features(draft: Draft, paths: Sequence[Path]) -> Features:
    """List the columns that there are, and no others but videos; their types.
    Raises DatasetError: one is of a kind that LeRobot has not, or info.json is wrong beyond its features."""
    features = draft.features
    there = {name: path for path in reversed(paths) for name in column_names(path)}
    for name in [name for name, feature in features.items() if feature.get("dtype") != "video"]:
        if name not in there and name not in AUTOMATIC:
            del features[name]
    for name, path in there.items():
        if name not in features:
            features[name] = _feature_of(name, _read_column(draft, path, name))
    for name, dtype in AUTOMATIC.items():
        features.setdefault(name, {"dtype": dtype, "shape": [1], "names": None})
    counted = draft.info | dict.fromkeys(COUNTS, 0)
    if wrong := [*wrong_info(counted)]:
        raise DatasetError(wrong[0])
    return frame_features(counted)


def _read_column(draft: Draft, path: Path, name: str) -> "pa.ChunkedArray[Any]":
    """Raises DatasetError: it cannot be unpacked."""
    try:
        table = read_parquet(path, [name])
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{draft.name_of(path)}: {name}: {error}") from error
    return table[name]


def _feature_of(name: str, cells: "pa.ChunkedArray[Any]") -> dict[str, Any]:
    """The feature that a column of frames shows. Raises DatasetError: a type without a name in LeRobot."""
    first: Any = cells[0].as_py()
    inner = cells.type
    while hasattr(inner, "value_type"):
        inner = inner.value_type
    if pa.types.is_string(inner) or pa.types.is_large_string(inner):
        dtype = "string"
    elif pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner):
        dtype = np.dtype(inner.to_pandas_dtype()).name
    else:
        raise DatasetError(f"{INFO_PATH} does not list the column {name}, which is of {inner}")
    return {"dtype": dtype, "shape": list(np.shape(first)) or [1], "names": None}
