"""The images of a ring's rows, read back from the dataset: exact from pictures, decoded from videos."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, column, episode_lengths, one_piece, read_parquet, values
from learner.replay.dataset.format.layout import DATA_PATH, SIDECAR_PATH, feature_name, file_name, video_name
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.format.video import from_png, read_frames
from protocol.arrays import DTYPES
from protocol.pictures import modality_of


def read_pictures(folder: Path, number: int, spec: DatasetSpec) -> dict[str, Array]:
    """Of all rows of one shard, in the order of `read_rows`: decisions, then known final observations."""
    frames = read_parquet(folder / file_name(DATA_PATH, number))
    sidecar = read_parquet(folder / file_name(SIDECAR_PATH, number))
    start = np.flatnonzero(column(frames, "decision_start"))
    known = np.flatnonzero(column(sidecar, "final_known"))
    pictures: dict[str, Array] = {}
    for camera, size in spec.cameras.items():
        cells = values(sidecar, f"final_image.{camera}")
        finals = [from_png(cells[row]) for row in known.tolist()]
        if camera in spec.videos:
            decisions = list(_decoded(folder, camera, frames, sidecar)[start])
        else:
            stored = one_piece(frames, feature_name(camera))
            decisions = [from_png(stored[row].as_py()["bytes"]) for row in start.tolist()]
        kind = modality_of(camera)
        empty = np.zeros((0, *kind.shape(size)), DTYPES[kind.dtype])
        pictures[camera] = np.stack([*decisions, *finals]) if decisions else empty
    return pictures


def _decoded(folder: Path, camera: str, frames: pa.Table, sidecar: pa.Table) -> Array:
    """u1 (T, H, W, 3), every frame of a shard from its videos."""
    numbers, starts = values(sidecar, "video"), values(sidecar, "video_frame")
    videos = {number: read_frames(folder / video_name(camera, number)) for number in set(numbers)}
    places = zip(numbers, starts, episode_lengths(frames), strict=True)
    return np.concatenate([videos[number][first : first + length] for number, first, length in places])
