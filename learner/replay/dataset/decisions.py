"""Decisions in the order of their sub-environments, and the frames of an episode made from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from learner.replay.dataset.arrow import Array
from learner.replay.dataset.episode import Episode, Lane
from protocol.arrays import Columns
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX, Per, names_per

# What has an entry for each frame, side by side in this order; and for each decision.
_FRAME_COLUMNS = names_per(Per.FRAME, Per.PLAN)
_ROW_COLUMNS = names_per(Per.ROW)

type Messages = Sequence[tuple[Columns, int]]
"""Columns of messages of one session, each with the position of its first row in the stream of rows."""


class Ending(NamedTuple):
    """How an episode ended, and what was seen then."""

    terminated: bool
    truncated: bool
    observation: Array
    base_plan: Array
    features: Array
    images: dict[str, Array]


class Endings:
    """All endings in some messages, read when there is one."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def at(self, number: int) -> Ending:
        terminated, truncated, observation, base_plan, features, images = self._columns
        return Ending(
            terminated[number],
            truncated[number],
            observation[number],
            base_plan[number],
            features[number],
            {camera: pictures[number] for camera, pictures in images.items()},
        )

    @cached_property
    def _columns(self) -> tuple[list[bool], list[bool], Array, Array, Array, dict[str, Array]]:
        terminated, truncated = (_joined(self._messages, name) for name in ("terminated", "truncated"))
        rows = terminated | truncated
        return (
            terminated[rows].tolist(),
            truncated[rows].tolist(),
            _joined(self._messages, "final_observation"),
            _joined(self._messages, "final_base_plan"),
            _joined_features(self._messages, "final_"),
            _joined_images(self._messages, FINAL_IMAGE_PREFIX),
        )


class Run(NamedTuple):
    """Consecutive decisions of one episode."""

    sub_env: int
    episode: int
    decision: int
    """Of the first."""
    rows: slice
    ending: int | None
    """Number of the ending that the last decision has; None if the episode goes on."""


@dataclass(frozen=True)
class Decisions:
    """D decisions of one session, sorted by sub-environment."""

    values: Array
    """f4 (D, k, O + 3 A + 2), as in `Episode`."""
    frames: Array
    """i4 (D,)"""
    weights_version: Array
    """i8 (D,)"""
    positions: Array
    """i8 (D,)"""
    observation_dim: int
    action_dim: int
    optional: dict[str, Array]
    """(D, k, ...)"""
    features: Array
    """f2 (D, E); E is 0 where none came."""
    images: dict[str, Array]
    """Camera -> (D, k, H, W, C), see `protocol.pictures`."""
    identity: tuple[Array, Array, Array]
    """Sub-environment, episode and decision, each (D,)."""
    ending: Array
    """(D,), number of its ending in `endings`, -1 for none."""
    endings: Endings

    def runs(self) -> Iterator[Run]:
        """All of it, cut where an episode ends or is not continued."""
        sub_env, episode, decision = self.identity
        breaks = (
            (sub_env[1:] != sub_env[:-1])
            | (episode[1:] != episode[:-1])
            | (decision[1:] != decision[:-1] + 1)
            | (self.ending[:-1] >= 0)
        )
        starts = np.flatnonzero(np.r_[len(sub_env) > 0, breaks])
        stops = [*starts[1:].tolist(), len(sub_env)]
        heads = (column[starts].tolist() for column in self.identity)
        for first, stop, lane, number, begins in zip(starts.tolist(), stops, *heads, strict=True):
            ending = int(self.ending[stop - 1])
            yield Run(lane, number, begins, slice(first, stop), ending if ending >= 0 else None)


type Part = tuple[Decisions, slice]


def sorted_decisions(messages: Messages) -> Decisions:
    """The rows of messages of one session, by sub-environment; those of each stay in order."""
    joined = {name: _joined(messages, name) for name in _ROW_COLUMNS}
    order = np.argsort(joined["sub_env"], kind="stable")
    row = {name: column[order] for name, column in joined.items()}
    first, _ = messages[0]
    ending = np.full(len(order), -1)
    ended = joined["terminated"] | joined["truncated"]
    ending[ended] = np.arange(ended.sum())
    every = first["reward"].shape[1]
    return Decisions(
        values=_side_by_side(messages, len(order))[order],
        frames=row["frames"],
        weights_version=row["weights_version"],
        positions=_positions(messages)[order],
        observation_dim=first["observation"].shape[2],
        action_dim=first["action"].shape[2],
        optional=_optional(messages, every, order),
        features=_joined_features(messages)[order],
        images={
            camera: pictures[order] for camera, pictures in _joined_images(messages, IMAGE_PREFIX).items()
        },
        identity=(row["sub_env"], row["episode"], row["decision"]),
        ending=ending[order],
        endings=Endings(messages),
    )


def join_decisions(lane: Lane, number: int, parts: Sequence[Part], ending: Ending | None) -> Episode:
    """Lay the frames of all parts end to end; without an ending the episode is truncated at its last row."""
    last = parts[-1][0]
    o, a = last.observation_dim, last.action_dim
    values = np.concatenate([block.values[rows] for block, rows in parts])
    frames = np.concatenate([block.frames[rows] for block, rows in parts])
    base_plan, residual = values[-1, :, o + a : o + 2 * a], values[-1, :, o + 2 * a : o + 3 * a]
    executed = _executed(frames, values.shape[1])
    decision_start = np.zeros(int(frames.sum()), bool)
    decision_start[np.cumsum(frames) - frames] = True
    versions = np.concatenate([block.weights_version[rows] for block, rows in parts])

    def joined(blocks: Sequence[Array]) -> Array:
        """(T, ...)"""
        whole = np.concatenate(blocks)
        return whole.reshape(-1, *whole.shape[2:])[executed]

    return Episode(
        lane=lane,
        number=number,
        values=values.reshape(-1, values.shape[2])[executed],
        decision_start=decision_start,
        weights_version=np.repeat(versions, frames),
        positions=np.concatenate([block.positions[rows] for block, rows in parts]),
        terminated=ending is not None and ending.terminated,
        truncated=ending is None or ending.truncated,
        final_known=ending is not None,
        final_observation=np.zeros(o, np.float32) if ending is None else ending.observation,
        final_base_plan=np.zeros_like(base_plan) if ending is None else ending.base_plan,
        last_base_plan=base_plan,
        last_residual=residual,
        optional={
            name: joined([block.optional[name][rows] for block, rows in parts]) for name in last.optional
        },
        features=np.concatenate([block.features[rows] for block, rows in parts]),
        final_features=np.zeros_like(last.features[0]) if ending is None else ending.features,
        images={
            camera: joined([block.images[camera][rows] for block, rows in parts]) for camera in last.images
        },
        final_images={
            camera: np.zeros_like(pictures[0, 0]) if ending is None else ending.images[camera]
            for camera, pictures in last.images.items()
        },
    )


def _executed(frames: Array, every: int) -> Array | slice:
    total = int(frames.sum())
    if total - frames[-1] == every * (len(frames) - 1):  # only the last decision may be short
        return slice(total)
    return (np.arange(every) < frames[:, None]).reshape(-1)


def _joined(messages: Messages, name: str) -> Array:
    if len(messages) == 1:
        return messages[0][0][name]
    return np.concatenate([columns[name] for columns, _ in messages])


def _joined_features(messages: Messages, prefix: str = "") -> Array:
    if f"{prefix}features" in messages[0][0]:
        return _joined(messages, f"{prefix}features")
    rows = sum(len(columns[f"{prefix}observation"]) for columns, _ in messages)
    return np.zeros((rows, 0), np.float16)


def _joined_images(messages: Messages, prefix: str) -> dict[str, Array]:
    names = [name for name in messages[0][0] if name.startswith(prefix)]
    return {name.removeprefix(prefix): _joined(messages, name) for name in names}


def _optional(messages: Messages, every: int, order: Array) -> dict[str, Array]:
    """(D, k, ...); a column of rows has its value at each frame."""
    rows, frames = names_per(Per.ROW, optional=True), names_per(Per.FRAME, Per.PLAN, optional=True)
    present = [name for name in (*rows, *frames) if name in messages[0][0]]
    columns = {name: _joined(messages, name)[order] for name in present}
    return {
        name: np.repeat(values[:, None], every, axis=1) if name in rows else values
        for name, values in columns.items()
    }


def _side_by_side(messages: Messages, rows: int) -> Array:
    """f4 (D, k, sum of the widths), the frames' columns."""
    first, _ = messages[0]
    widths = [first[name].shape[2] if first[name].ndim == 3 else 1 for name in _FRAME_COLUMNS]
    ends = np.cumsum(widths)
    values = np.empty((rows, first["reward"].shape[1], ends[-1]), np.float32)
    for name, width, end in zip(_FRAME_COLUMNS, widths, ends, strict=True):
        start = 0
        for columns, _ in messages:
            part = columns[name]
            values[start : start + len(part), :, end - width : end] = part.reshape(*part.shape[:2], width)
            start += len(part)
    return values


def _positions(messages: Messages) -> Array:
    """i8 (D,); a final observation has a position of its own, behind its decision."""
    places: list[Array] = []
    for columns, first in messages:
        rows = np.arange(len(columns["frames"]))
        places.append(first + rows + np.searchsorted(columns["final_row"], rows))
    return np.concatenate(places)
