"""Camera images in the dataset: columns, places, statistics."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, Cells, cells_of, column, lists_of, matrix, with_column
from learner.replay.dataset.episode import Episode
from learner.replay.dataset.format.layout import FILES_PER_CHUNK, feature_name
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.format.statistics import STATISTICS, describe_images
from learner.replay.dataset.format.video import as_png

# What LeRobot's images in a table look like.
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image_columns(episodes: list[Episode], spec: DatasetSpec) -> dict[str, Cells]:
    """The columns of the frames' table that hold images themselves; none for those that are videos."""
    columns: dict[str, Cells] = {}
    for camera in (name for name in spec.cameras if name not in spec.videos):
        pictures = (as_png(image) for episode in episodes for image in episode.images[camera])
        cells = [{"bytes": picture, "path": None} for picture in pictures]
        columns[feature_name(camera)] = pa.array(cells, IMAGE_TYPE)
    return columns


def image_statistics(episodes: list[Episode], spec: DatasetSpec) -> Array:
    """f8 (E, 9, C), the cameras' channels side by side."""
    if not spec.cameras:
        return np.zeros((len(episodes), len(STATISTICS), 0))
    rows = [[describe_images(episode.images[camera]) for camera in spec.cameras] for episode in episodes]
    return np.stack([np.concatenate(row, axis=1) for row in rows])


def sidecar_columns(
    episodes: list[Episode], spec: DatasetSpec, statistics: Array, number: int
) -> dict[str, Array | Cells]:
    """The sidecar's columns about images: statistics, final images, and where each episode's video begins.

    Args:
        statistics: f8 (E, 9, C)
        number: of the video files.
    """
    if not spec.cameras:
        return {}
    columns: dict[str, Array | Cells] = {"image_statistics": lists_of(statistics[0].size, statistics)}
    lengths = np.array([len(episode) for episode in episodes])
    for camera in spec.cameras:
        pictures = [as_png(episode.final_images[camera]) for episode in episodes]
        columns[f"final_image.{camera}"] = pa.array(pictures, pa.binary())
    if spec.videos:
        columns["video"] = np.full(len(episodes), number)
        columns["video_frame"] = np.cumsum(lengths) - lengths
    return columns


def with_channels(statistics: Array, pictures: Array) -> Array:
    """f8 (E, 9, D) and (E, 9, C) side by side."""
    return np.concatenate([statistics, pictures], axis=2) if pictures.shape[2] else statistics


def statistics_of(sidecar: pa.Table, spec: DatasetSpec) -> Array:
    """f8 (E, 9, C), as `image_statistics` gave them."""
    if not spec.cameras:
        return np.zeros((len(sidecar), len(STATISTICS), 0))
    return matrix(sidecar, "image_statistics").reshape(len(sidecar), len(STATISTICS), -1)


def episode_columns(sidecar: pa.Table, lengths: Array, spec: DatasetSpec) -> dict[str, Array | Cells]:
    """The columns of meta/episodes that say where each episode's videos are; none without videos."""
    if not spec.videos:
        return {}
    numbers, first = column(sidecar, "video"), column(sidecar, "video_frame")
    places = {
        "chunk_index": numbers // FILES_PER_CHUNK,
        "file_index": numbers % FILES_PER_CHUNK,
        "from_timestamp": first / spec.fps,
        "to_timestamp": (first + lengths) / spec.fps,
    }
    return {
        f"videos/{feature_name(camera)}/{name}": values
        for camera in spec.videos
        for name, values in places.items()
    }


def channels(values: Array) -> Cells:
    """(E, C) as LeRobot writes statistics of images: lists of shape (C, 1, 1)."""
    return cells_of(values[:, :, None, None].tolist())


def with_videos(sidecar: pa.Table, places: Mapping[int, tuple[int, int]]) -> pa.Table:
    """The sidecar with its videos moved.
    `places`: number of a video -> its new number, and how many frames of others come before it."""
    moves = np.array([places[number] for number in column(sidecar, "video").tolist()], np.int64).reshape(
        -1, 2
    )
    moved = with_column(sidecar, "video", moves[:, 0])
    return with_column(moved, "video_frame", column(sidecar, "video_frame") + moves[:, 1])
