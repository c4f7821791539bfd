"""The tables of a shard, made from whole episodes: frames, episodes, and the sidecar for all else."""

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import (
    Array,
    Cells,
    lists,
    lists_of,
    make_table,
    matrix,
    ragged,
    with_column,
)
from learner.replay.dataset.episode import Episode
from learner.replay.dataset.format.images import channels, episode_columns, sidecar_columns
from learner.replay.dataset.format.layout import file_place
from learner.replay.dataset.format.spec import DatasetSpec, image_features, optional_feature
from learner.replay.dataset.format.statistics import STATISTICS


def frame_columns(
    episodes: list[Episode], spec: DatasetSpec, *, actors: list[int], first_episode: int, first_index: int
) -> dict[str, Array]:
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
        **{optional_feature(name): _optional(episodes, name) for name in spec.optional_columns},
    }


def _optional(episodes: list[Episode], name: str) -> Array:
    values = np.concatenate([episode.optional[name] for episode in episodes])
    return values.reshape(len(values), -1) if values.ndim > 1 else values


def sidecar_table(
    episodes: list[Episode], first_episode: int, spec: DatasetSpec, image_statistics: Array, number: int
) -> pa.Table:
    """What the frames do not say of each episode: who sent it, how it ended, its last decision whole,
    each decision's position in the stream of rows, the base's features at each of them, and the images'
    `sidecar_columns`."""
    identity = {
        "episode_index": np.arange(first_episode, first_episode + len(episodes)),
        "actor_id": pa.array([episode.lane[0] for episode in episodes], pa.string()),
        "session": np.array([episode.lane[1] for episode in episodes], np.int64),
        "sub_env": np.array([episode.lane[2] for episode in episodes], np.int64),
        "episode": np.array([episode.number for episode in episodes], np.int64),
        "terminated": np.array([episode.terminated for episode in episodes]),
        "truncated": np.array([episode.truncated for episode in episodes]),
        "final_known": np.array([episode.final_known for episode in episodes]),
    }
    numbers = {
        "final_observation": np.stack([episode.final_observation for episode in episodes]),
        "final_base_plan": np.stack([episode.final_base_plan for episode in episodes]),
        "last_base_plan": np.stack([episode.last_base_plan for episode in episodes]),
        "last_residual": np.stack([episode.last_residual for episode in episodes]),
    }
    positions = np.concatenate([episode.positions for episode in episodes])
    decisions = [len(episode.positions) for episode in episodes]
    return make_table(
        {
            **identity,
            **{name: lists_of(values[0].size, values) for name, values in numbers.items()},
            "positions": ragged(positions, decisions),
            **(_feature_columns(episodes, decisions) if spec.features_dim else {}),
            **sidecar_columns(episodes, spec, image_statistics, number),
        }
    )


def _feature_columns(episodes: list[Episode], decisions: list[int]) -> dict[str, Cells]:
    """Half precision, a decision's after another's: for LeRobot's own tools they would be a wide matrix of
    numbers without a name."""
    features = np.concatenate([episode.features for episode in episodes])
    finals = np.stack([episode.final_features for episode in episodes])
    width = features.shape[1]
    return {
        "features": ragged(features, [width * count for count in decisions]),
        "final_features": lists_of(width, finals),
    }


def episodes_table(
    first_episode: int,
    first_index: int,
    lengths: Array,
    statistics: Array,
    spec: DatasetSpec,
    number: int,
    sidecar: pa.Table,
) -> pa.Table:
    """The table in meta/episodes for E episodes in the number-th file and f8 (E, 9, D) statistics."""
    count = len(lengths)
    ends = first_index + np.cumsum(lengths)
    columns: dict[str, Array | Cells] = {
        "episode_index": np.arange(first_episode, first_episode + count),
        "length": lengths,
        "dataset_from_index": ends - lengths,
        "dataset_to_index": ends,
        "tasks": pa.array([[spec.task]] * count),
    }
    columns |= episode_columns(sidecar, lengths, spec)
    pictures = image_features(spec)
    for feature, at in spec.slices().items():
        cells = channels if feature in pictures else lists
        for i, name in enumerate(STATISTICS):
            columns[f"stats/{feature}/{name}"] = cells(statistics[:, i, at])
        columns[f"stats/{feature}/count"] = lists(lengths[:, None])
    return placed(make_table(columns), number)


def placed(episodes: pa.Table, number: int) -> pa.Table:
    """The same episodes, as those of the number-th file."""
    for kind in ("data", "meta/episodes"):
        for key, value in file_place(number).items():
            episodes = with_column(episodes, f"{kind}/{key}", np.full(len(episodes), value))
    return episodes


def as_matrix(frames: pa.Table, spec: DatasetSpec) -> Array:
    """f8 (N, D), all columns but images side by side as `DatasetSpec.slices` says."""
    columns = [matrix(frames, name) for name in spec.number_features()]
    return np.concatenate(columns, axis=1).astype(np.float64, copy=False)
