"""Demonstrations from a LeRobot dataset, this replay's own or a foreign one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.demonstrations import Demonstration, DemonstrationError
from learner.replay.lerobot_folder import read_info
from learner.replay.lerobot_format import (
    SIDECAR_PATH,
    DatasetError,
    episode_lengths,
    file_name,
    file_number,
    read_parquet,
)
from learner.replay.verify import parquet_files

log = logging.getLogger(__name__)


def read_lerobot(folder: Path, *, observation_dim: int, action_dim: int, fps: int) -> list[Demonstration]:
    """All episodes of a LeRobot v3.0 dataset of state observations.

    Where the last observation of an episode is not known, its last action is left out. Where nothing
    says which frames were successful, the last one of each episode is taken to be; a line in the log
    says so.

    Raises:
        DemonstrationError: another format version, other fps, missing or other columns; says which.
    """
    try:
        info = read_info(folder)
    except DatasetError as error:
        raise DemonstrationError(str(error)) from error
    columns = _observation_columns(folder, info)
    widths = {name: info["features"][name]["shape"][0] for name in (*columns, "action")}
    _require(folder, "fps", info["fps"], fps)
    _require(folder, "observations of width", sum(widths[name] for name in columns), observation_dim)
    _require(folder, "actions of width", widths["action"], action_dim)
    if "next.success" not in info["features"]:
        log.warning("%s lacks next.success: the last frame of each episode counts as its success", folder)
    episodes: list[Demonstration] = []
    for path in parquet_files(folder / "data"):
        episodes += _episodes_of(folder, path, columns)
    return episodes


def _observation_columns(folder: Path, info: dict[str, Any]) -> list[str]:
    names = [
        name for name in ("observation.state", "observation.environment_state") if name in info["features"]
    ]
    missing = {"observation.state", "action"} - info["features"].keys()
    if missing:
        raise DemonstrationError(f"{folder} lacks the columns {', '.join(sorted(missing))}")
    return names


def _require(folder: Path, what: str, found: float, wanted: float) -> None:
    if found != wanted:
        raise DemonstrationError(f"{folder} has {what} {found}, this run {wanted}")


def _episodes_of(folder: Path, path: Path, columns: list[str]) -> list[Demonstration]:
    frames = read_parquet(path)
    lengths = episode_lengths(frames)
    observations = np.concatenate([_matrix(frames, name) for name in columns], axis=1)
    actions = _matrix(frames, "action")
    ends = np.cumsum(lengths)
    success = np.zeros(len(frames), bool)
    success[ends - 1] = True
    if "next.success" in frames.column_names:
        success = frames["next.success"].to_numpy()
    finals = _final_observations(folder / file_name(SIDECAR_PATH, file_number(path)), len(lengths))
    made = []
    for first, stop, final in zip(ends - lengths, ends, finals, strict=True):
        if final is not None:
            seen = np.vstack([observations[first:stop], final])
            made.append(Demonstration(seen, actions[first:stop], success[first:stop]))
        elif stop - first > 1:
            # The success of the action that is left out moves to the one before.
            kept = success[first : stop - 1].copy()
            kept[-1] |= success[stop - 1]
            made.append(Demonstration(observations[first:stop], actions[first : stop - 1], kept))
    return made


def _final_observations(sidecar: Path, episodes: int) -> list[np.ndarray | None]:
    if not sidecar.exists():
        return [None] * episodes
    table = read_parquet(sidecar, ["final_known", "final_observation"])
    known, final = table["final_known"].to_numpy(), _matrix(table, "final_observation")
    return [row if there else None for row, there in zip(final, known, strict=True)]


def _matrix(table: pa.Table, name: str) -> np.ndarray:
    """f4 (N, width)"""
    column = table[name].combine_chunks()
    flat = column if pa.types.is_primitive(column.type) else column.flatten()
    return flat.to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.float32, copy=False)
