"""What can be wrong with frames and videos, in words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, column, floats, null_count
from learner.replay.dataset.content import why_no_content
from learner.replay.dataset.format.layout import video_name
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.format.video import BrokenVideoError, count_frames


def problems_with_videos(folder: Path, sidecar: pa.Table, lengths: Array, spec: DatasetSpec) -> Iterator[str]:
    """Videos of these episodes that are missing, broken or too short."""
    if not spec.videos:
        return
    numbers, stops = column(sidecar, "video"), column(sidecar, "video_frame") + lengths
    for number in dict.fromkeys(numbers.tolist()):
        needed = int(stops[numbers == number].max())
        for name in (video_name(camera, number) for camera in spec.videos):
            if (problem := problem_with_video(folder, name, needed)) is not None:
                yield problem


def problem_with_video(folder: Path, name: str, needed: int) -> str | None:
    """Why a video does not have so many frames."""
    path = folder / name
    if not path.exists():
        return f"{name} is missing"
    try:
        frames = count_frames(path)
    except BrokenVideoError as error:
        return f"{name}: {why_no_content(path) or f'broken: {error}'}"
    return f"{name} has {frames} frames, episodes in it end at {needed}" if frames < needed else None


def problem_with_frames(frames: pa.Table, first_episode: int, first_index: int, fps: float) -> str | None:
    """What is wrong with whole episodes that begin at these indices, in words, or None."""
    return (
        problem_with_index(frames, first_index)
        or _problem_with_episodes(frames, first_episode)
        or problem_with_times(frames, fps)
        or problem_with_empty_cells(frames)
        or not_finite(frames)
    )


def problem_with_index(frames: pa.Table, first_index: int) -> str | None:
    """Whether the frames are numbered on from the one before."""
    index = column(frames, "index")
    wrong = np.flatnonzero(index != first_index + np.arange(len(index)))
    return f"index {index[wrong[0]]} stands where {first_index + wrong[0]} should" if len(wrong) else None


def _problem_with_episodes(frames: pa.Table, first_episode: int) -> str | None:
    episode = column(frames, "episode_index")
    wrong = np.flatnonzero(episode != first_episode + np.cumsum(_begins(episode)) - 1)
    if not len(wrong):
        return None
    return f"episode {episode[wrong[0]]} begins at frame {column(frames, 'index')[wrong[0]]}: a gap"


def problem_with_times(frames: pa.Table, fps: float) -> str | None:
    """Whether the frames of an episode count from 0, at their times; for the columns that there are."""
    episode = column(frames, "episode_index")
    starts = np.flatnonzero(_begins(episode))
    expected = np.arange(len(episode)) - np.repeat(starts, np.diff(np.r_[starts, len(episode)]))
    for name in {"frame_index", "timestamp"} & set(frames.column_names):
        if column(frames, name).dtype.kind not in "iuf":
            return f"{name} has no numbers"
    if "frame_index" in frames.column_names:
        frame = column(frames, "frame_index")
        wrong = np.flatnonzero(frame != expected)
        if len(wrong):
            row = wrong[0]
            return f"frame_index {frame[row]} of episode {episode[row]} should be {expected[row]}"
    if "timestamp" in frames.column_names:
        wrong = np.flatnonzero(~(np.abs(column(frames, "timestamp") - expected / fps) <= 1e-4))
        if len(wrong):
            return f"the timestamp at frame {column(frames, 'index')[wrong[0]]} is not frame_index / fps"
    return None


def problem_with_empty_cells(frames: pa.Table) -> str | None:
    for name in frames.column_names:
        if count := null_count(frames, name):
            return f"{name} has {count} empty values"
    return None


def not_finite(frames: pa.Table) -> str | None:
    """The first number that is not finite."""
    for name in frames.column_names:
        numbers = floats(frames, name)
        if numbers is not None and len(bad := np.flatnonzero(~np.isfinite(numbers).all(1))):
            return f"{name} at frame {column(frames, 'index')[bad[0]]} is not finite"
    return None


def _begins(episode: Array) -> Array:
    """b1 (N,), where an episode begins."""
    return np.r_[np.ones(min(1, len(episode)), bool), episode[1:] != episode[:-1]]
