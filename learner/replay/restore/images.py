"""The images of a ring's rows, read back from the dataset: exact from pictures, decoded from videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.format import DatasetSpec, episode_lengths, read_parquet
from learner.replay.dataset.layout import DATA_PATH, SIDECAR_PATH, feature_name, file_name, video_name
from learner.replay.dataset.video import from_png, read_frames
from learner.replay.memory.images import Pictures


def read_pictures(folder: Path, number: int, spec: DatasetSpec) -> Pictures:
    """Of all rows of one shard, as `restore.read_rows` orders them: decisions, then known final ones."""
    frames = read_parquet(folder / file_name(DATA_PATH, number))
    sidecar = read_parquet(folder / file_name(SIDECAR_PATH, number)).combine_chunks()
    start = np.flatnonzero(frames["decision_start"].to_numpy())
    known = np.flatnonzero(sidecar["final_known"].to_numpy())
    pictures = {}
    for camera in spec.cameras:
        cells = sidecar[f"final_image.{camera}"]
        finals = [from_png(cells[row].as_py()) for row in known.tolist()]
        if spec.images == "image":
            column = frames[feature_name(camera)].combine_chunks().field("bytes")
            decisions = [from_png(column[row].as_py()) for row in start.tolist()]
        else:
            decisions = list(_decoded(folder, camera, frames, sidecar)[start])
        empty = np.zeros((0, *spec.cameras[camera], 3), np.uint8)
        pictures[camera] = np.stack([*decisions, *finals]) if decisions else empty
    return pictures


def _decoded(folder: Path, camera: str, frames: pa.Table, sidecar: pa.Table) -> np.ndarray:
    """u1 (T, H, W, 3), every frame of a shard from its videos."""
    videos = {
        number: read_frames(folder / video_name(camera, number))
        for number in set(sidecar["video"].to_pylist())
    }
    places = zip(
        sidecar["video"].to_pylist(), sidecar["video_frame"].to_pylist(), episode_lengths(frames), strict=True
    )
    return np.concatenate([videos[number][first : first + length] for number, first, length in places])
