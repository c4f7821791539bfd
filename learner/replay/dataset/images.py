"""The part of the LeRobot v3.0 format that is about cameras: columns, places, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.episodes import Episode
from learner.replay.dataset.format import DatasetSpec
from learner.replay.dataset.layout import FILES_PER_CHUNK, feature_name
from learner.replay.dataset.statistics import STATISTICS, describe_images
from learner.replay.dataset.video import as_png

# What LeRobot's images in a table look like.
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image_columns(episodes: list[Episode], spec: DatasetSpec) -> dict[str, pa.Array]:
    """The columns of the frames' table that hold images themselves; none where they are videos."""
    if spec.images != "image":
        return {}
    columns = {}
    for camera in spec.cameras:
        pictures = (as_png(image) for episode in episodes for image in episode.images[camera])
        cells = [{"bytes": picture, "path": None} for picture in pictures]
        columns[feature_name(camera)] = pa.array(cells, IMAGE_TYPE)
    return columns


def image_statistics(episodes: list[Episode], spec: DatasetSpec) -> np.ndarray:
    """f8 (E, 9, 3 C), the cameras' channels side by side."""
    if not spec.cameras:
        return np.zeros((len(episodes), len(STATISTICS), 0))
    rows = [[describe_images(episode.images[camera]) for camera in spec.cameras] for episode in episodes]
    return np.stack([np.concatenate(row, axis=1) for row in rows])


def sidecar_columns(
    episodes: list[Episode], spec: DatasetSpec, statistics: np.ndarray, number: int
) -> dict[str, pa.Array]:
    """What the sidecar says of images: statistics, final images, and where each episode's video begins.

    Args:
        statistics: f8 (E, 9, 3 C)
        number: of the video files.
    """
    if not spec.cameras:
        return {}
    flat = pa.array(np.ascontiguousarray(statistics).reshape(-1))
    columns: dict[str, Any] = {
        "image_statistics": pa.FixedSizeListArray.from_arrays(flat, statistics[0].size)
    }
    lengths = np.array([len(episode) for episode in episodes])
    for camera in spec.cameras:
        pictures = [as_png(episode.final_images[camera]) for episode in episodes]
        columns[f"final_image.{camera}"] = pa.array(pictures, pa.binary())
    if spec.images == "video":
        columns["video"] = pa.array(np.full(len(episodes), number))
        columns["video_frame"] = pa.array(np.cumsum(lengths) - lengths)
    return columns


def with_channels(statistics: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """f8 (E, 9, D) and (E, 9, 3 C) side by side."""
    return np.concatenate([statistics, pictures], axis=2) if pictures.shape[2] else statistics


def statistics_of(sidecar: pa.Table, spec: DatasetSpec) -> np.ndarray:
    """f8 (E, 9, 3 C), as `image_statistics` gave them."""
    if not spec.cameras:
        return np.zeros((len(sidecar), len(STATISTICS), 0))
    flat = sidecar["image_statistics"].combine_chunks().flatten().to_numpy()
    return flat.reshape(len(sidecar), len(STATISTICS), -1)


def episode_columns(sidecar: pa.Table, lengths: np.ndarray, spec: DatasetSpec) -> dict[str, pa.Array]:
    """The columns of meta/episodes that say where each episode's videos are; none without videos."""
    if spec.images != "video" or not spec.cameras:
        return {}
    numbers, first = sidecar["video"].to_numpy(), sidecar["video_frame"].to_numpy()
    places = {
        "chunk_index": numbers // FILES_PER_CHUNK,
        "file_index": numbers % FILES_PER_CHUNK,
        "from_timestamp": first / spec.fps,
        "to_timestamp": (first + lengths) / spec.fps,
    }
    return {
        f"videos/{feature_name(camera)}/{name}": pa.array(values)
        for camera in spec.cameras
        for name, values in places.items()
    }


def channels(values: np.ndarray) -> pa.Array:
    """(E, 3) as LeRobot writes statistics of images: lists of shape (3, 1, 1)."""
    return pa.array(values[:, :, None, None].tolist())


def with_videos(sidecar: pa.Table, places: Mapping[int, tuple[int, int]]) -> pa.Table:
    """The sidecar with its videos moved.

    Args:
        places: number of a video -> its new number, and how many frames of others come before it.
    """
    numbers = sidecar["video"].to_numpy()
    moved = np.array([places[number][0] for number in numbers], np.int64)
    first = sidecar["video_frame"].to_numpy() + np.array([places[n][1] for n in numbers], np.int64)
    for name, values in (("video", moved), ("video_frame", first)):
        sidecar = sidecar.set_column(sidecar.schema.get_field_index(name), name, pa.array(values))
    return sidecar
