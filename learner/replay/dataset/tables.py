"""The LeRobot v3.0 tables of a shard, made from whole episodes: frames, episodes and what neither says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from learner.replay.dataset.episodes import Episode
from learner.replay.dataset.format import DatasetSpec, image_features, with_column
from learner.replay.dataset.images import channels, episode_columns, sidecar_columns
from learner.replay.dataset.layout import file_place
from learner.replay.dataset.statistics import STATISTICS


def frame_columns(
    episodes: list[Episode], spec: DatasetSpec, *, actors: list[int], first_episode: int, first_index: int
) -> dict[str, np.ndarray]:
    """One dataset frame an environment step, in the order of the features: column -> (N,) or (N, width).

    Args:
        actors: of each episode.
        first_episode: episode_index of the first of `episodes`.
        first_index: of its first frame.
    """
    o, a = spec.observation_dim, spec.action_dim
    values = np.concatenate([episode.values for episode in episodes])
    observation, action, base, residual, scalars = np.split(values, np.cumsum([o, a, a, a]), axis=1)
    widths = spec.observation_columns
    parts = np.split(observation, np.cumsum([*widths.values()])[:-1], axis=1)
    observations = dict(zip(widths, parts, strict=True))
    lengths = np.array([len(episode) for episode in episodes])
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    frame_index = np.arange(total) - np.repeat(ends - lengths, lengths)
    done, truncated = np.zeros(total, bool), np.zeros(total, bool)
    done[ends - 1] = True
    truncated[ends - 1] = [episode.truncated for episode in episodes]
    return {
        **observations,
        "action": action,
        "next.reward": scalars[:, 0],
        "next.done": done,
        "next.success": scalars[:, 1] > 0,
        "next.truncated": truncated,
        "base_action": base,
        "residual": residual,
        "weights_version": np.concatenate([episode.weights_version for episode in episodes]),
        "decision_start": np.concatenate([episode.decision_start for episode in episodes]),
        "actor": np.repeat(np.array(actors, np.int64), lengths),
        "sub_env": np.repeat(np.array([episode.lane[2] for episode in episodes], np.int64), lengths),
        "timestamp": (frame_index / spec.fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.repeat(first_episode + np.arange(len(episodes)), lengths),
        "index": first_index + np.arange(total),
        "task_index": np.zeros(total, np.int64),
    }


def fixed_lists(values: np.ndarray) -> pa.Array:
    """(T,) or (T, 1) as plain values, (T, width) as lists of fixed size: what LeRobot's schema says."""
    width = values.size // len(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def sidecar_table(
    episodes: list[Episode], first_episode: int, spec: DatasetSpec, image_statistics: np.ndarray, number: int
) -> pa.Table:
    """What the frames do not say of each episode: who sent it, how it ended, its last decision whole,
    each decision's place in the stream of rows, and what `lerobot_images.sidecar_columns` says."""
    identity = {
        "episode_index": np.arange(first_episode, first_episode + len(episodes)),
        "actor_id": pa.array([episode.lane[0] for episode in episodes], pa.string()),
        "session": pa.array([episode.lane[1] for episode in episodes], pa.int64()),
        "sub_env": pa.array([episode.lane[2] for episode in episodes], pa.int64()),
        "episode": pa.array([episode.number for episode in episodes], pa.int64()),
    }
    ends = {
        name: pa.array([getattr(episode, name) for episode in episodes], pa.bool_())
        for name in ("terminated", "truncated", "final_known")
    }
    numbers = {
        name: _fixed_lists_of([getattr(episode, name) for episode in episodes])
        for name in ("final_observation", "final_base_plan", "last_base_plan", "last_residual")
    }
    images = sidecar_columns(episodes, spec, image_statistics, number)
    positions = _ragged([episode.positions for episode in episodes])
    return pa.table({**identity, **ends, **numbers, "positions": positions, **images})


def _fixed_lists_of(arrays: list[np.ndarray]) -> pa.Array:
    flat = np.stack([array.reshape(-1) for array in arrays])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def _ragged(arrays: list[np.ndarray]) -> pa.Array:
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(arrays)))


def episodes_table(
    first_episode: int,
    first_index: int,
    lengths: np.ndarray,
    statistics: np.ndarray,
    spec: DatasetSpec,
    number: int,
    sidecar: pa.Table,
) -> pa.Table:
    """The table in meta/episodes for E episodes in the number-th file and f8 (E, 9, D) statistics."""
    count = len(lengths)
    ends = first_index + np.cumsum(lengths)
    columns: dict[str, pa.Array] = {
        "episode_index": pa.array(np.arange(first_episode, first_episode + count)),
        "length": pa.array(lengths),
        "dataset_from_index": pa.array(ends - lengths),
        "dataset_to_index": pa.array(ends),
        "tasks": pa.array([[spec.task]] * count),
    }
    columns |= episode_columns(sidecar, lengths, spec)
    pictures = image_features(spec)
    for feature, at in spec.slices().items():
        lists = channels if feature in pictures else _lists
        for i, name in enumerate(STATISTICS):
            columns[f"stats/{feature}/{name}"] = lists(statistics[:, i, at])
        columns[f"stats/{feature}/count"] = _lists(lengths[:, None])
    return placed(pa.table(columns), number)


def placed(episodes: pa.Table, number: int) -> pa.Table:
    """The same episodes, said to lie in the number-th file."""
    for kind in ("data", "meta/episodes"):
        for key, value in file_place(number).items():
            episodes = with_column(episodes, f"{kind}/{key}", np.full(len(episodes), value))
    return episodes


def as_matrix(frames: pa.Table, spec: DatasetSpec) -> np.ndarray:
    """f8 (N, D), all columns but images side by side as `DatasetSpec.slices` says."""
    columns = []
    for name in spec.number_features():
        flat = frames[name].combine_chunks()
        flat = flat.flatten() if pa.types.is_fixed_size_list(flat.type) else flat
        columns.append(flat.to_numpy(zero_copy_only=False).reshape(len(frames), -1))
    return np.concatenate(columns, axis=1).astype(np.float64, copy=False)


def _lists(values: np.ndarray) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).reshape(-1)))
