"""What can be wrong with frames and videos, in words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, column, floats, null_count
from learner.replay.dataset.format.layout import video_name
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.format.video import BrokenVideoError, count_frames


def problems_with_videos(folder: Path, sidecar: pa.Table, lengths: Array, spec: DatasetSpec) -> Iterator[str]:
    """Videos of these episodes that are missing, broken or too short."""
    if spec.images != "video":
        return
    numbers, stops = column(sidecar, "video"), column(sidecar, "video_frame") + lengths
    for number in dict.fromkeys(numbers.tolist()):
        needed = int(stops[numbers == number].max())
        for name in (video_name(camera, number) for camera in spec.cameras):
            if not (folder / name).exists():
                yield f"{name} is missing"
                continue
            try:
                frames = count_frames(folder / name)
            except BrokenVideoError as error:
                yield f"{name}: broken: {error}"
                continue
            if frames < needed:
                yield f"{name} has {frames} frames, episodes in it end at {needed}"


def problem_with_frames(frames: pa.Table, first_episode: int, first_index: int, fps: float) -> str | None:
    """What is wrong with whole episodes that begin at these indices, in words, or None."""
    index = column(frames, "index")
    episode, frame = column(frames, "episode_index"), column(frames, "frame_index")
    wrong = np.flatnonzero(index != first_index + np.arange(len(index)))
    if len(wrong):
        return f"index {index[wrong[0]]} stands where {first_index + wrong[0]} should"
    begins = np.r_[True, episode[1:] != episode[:-1]]
    wrong = np.flatnonzero(episode != first_episode + np.cumsum(begins) - 1)
    if len(wrong):
        row = wrong[0]
        return f"episode {episode[row]} begins at frame {index[row]}: a gap"
    starts = np.flatnonzero(begins)
    expected = np.arange(len(index)) - np.repeat(starts, np.diff(np.r_[starts, len(index)]))
    wrong = np.flatnonzero(frame != expected)
    if len(wrong):
        row = wrong[0]
        return f"frame_index {frame[row]} of episode {episode[row]} should be {expected[row]}"
    wrong = np.flatnonzero(np.abs(column(frames, "timestamp") - frame / fps) > 1e-4)
    if len(wrong):
        return f"the timestamp at frame {index[wrong[0]]} is not frame_index / fps"
    return _non_finite(frames, index)


def _non_finite(frames: pa.Table, index: Array) -> str | None:
    for name in frames.column_names:
        if count := null_count(frames, name):
            return f"{name} has {count} empty values"
        numbers = floats(frames, name)
        if numbers is not None and len(bad := np.flatnonzero(~np.isfinite(numbers).all(1))):
            return f"{name} at frame {index[bad[0]]} is not finite"
    return None
