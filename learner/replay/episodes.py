"""Decisions of many interleaved sub-environments -> whole episodes, one row a frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from protocol.messages import Columns

log = logging.getLogger(__name__)

Lane = tuple[str, int, int]
"""Actor id, session, sub-environment: in a lane, episodes follow one another."""

_FRAME_COLUMNS = ("observation", "action", "base_plan", "residual", "reward", "success")
_ROW_COLUMNS = (
    *_FRAME_COLUMNS, "frames", "terminated", "truncated", "sub_env", "episode", "decision", "weights_version",
)  # fmt: skip

IMAGE_PREFIX, FINAL_IMAGE_PREFIX = "image.", "final_image."

EXPERIENCE_COLUMNS = frozenset((*_ROW_COLUMNS, "final_row", "final_observation", "final_base_plan"))


@dataclass(frozen=True)
class Episode:
    """Reset to end in one sub-environment: T frames in R decisions of k = residual_every frames.

    The last decision may be shorter than k; its whole plan and residual are what the critic saw.
    """

    lane: Lane
    number: int
    """Counts up in the lane."""
    values: np.ndarray
    """f4 (T, O + 3 A + 2): observation, action, base action, residual, reward, success, side by side."""
    decision_start: np.ndarray
    """b1 (T,), the first frame of each decision."""
    weights_version: np.ndarray
    """i8 (T,)"""
    positions: np.ndarray
    """i8 (R,), each decision's place in the stream of rows that the learner received."""
    terminated: bool
    truncated: bool
    final_known: bool
    """Whether the last observation arrived; it did not where the actor went away in mid-episode."""
    final_observation: np.ndarray
    """f4 (O,), zeros where unknown."""
    final_base_plan: np.ndarray
    """f4 (k, A), zeros where terminated or unknown."""
    last_base_plan: np.ndarray
    """f4 (k, A)"""
    last_residual: np.ndarray
    """f4 (k, A)"""
    images: dict[str, np.ndarray] = field(default_factory=dict)
    """Camera -> u1 (T, H, W, 3), like the observations."""
    final_images: dict[str, np.ndarray] = field(default_factory=dict)
    """Camera -> u1 (H, W, 3), zeros where unknown."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """Actor id, session, sub-environment, number: the same wherever the episode is sent again."""
        return (*self.lane, self.number)


@dataclass(frozen=True)
class _Message:
    """Columns of one message sorted by sub-environment, what belongs to a frame side by side."""

    values: np.ndarray
    """f4 (D, k, O + 3 A + 2)"""
    frames: np.ndarray
    version: np.ndarray
    position: np.ndarray
    base_plan: np.ndarray
    residual: np.ndarray
    images: dict[str, np.ndarray]
    """u1 (D, k, H, W, 3)"""


@dataclass
class _Open:
    """An episode that goes on: which rows of which messages it has so far."""

    number: int
    next_decision: int = 0
    parts: list[tuple[_Message, slice]] = field(default_factory=list)


class EpisodeAssembler:
    """Puts decisions together by lane and episode.

    Rows that were seen before are passed over in silence: those of an open episode, and those of the
    first `settled[lane]` episodes of a lane. An episode with a hole in its decisions is dropped
    whole, with a warning: a trajectory with a jump in it would look right and teach something wrong.

    Args:
        settled: episodes of each lane that need not come again; kept up to date.
    """

    def __init__(self, settled: dict[Lane, int] | None = None) -> None:
        self._settled = {} if settled is None else settled
        self._open: dict[Lane, _Open] = {}
        self._skipping: dict[Lane, int] = {}
        self.dropped = 0
        """Episodes that were lost to holes."""

    @property
    def unfinished(self) -> int:
        """Episodes whose end has not arrived."""
        return len(self._open)

    def add(self, actor_id: str, session: int, columns: Columns, position: int = 0) -> list[Episode]:
        """Take the columns of one message; return the episodes that it ended, in the order they ended.

        Args:
            position: of the message's first row in the stream of rows; a final observation takes a
                place of its own behind the decision that it ends.
        """
        order = np.argsort(columns["sub_env"], kind="stable")
        ended = columns["terminated"] | columns["truncated"]
        message = _sorted_message(columns, order, position)
        rows = {name: columns[name][order] for name in ("sub_env", "episode", "decision")}
        bounds = _run_bounds(rows, ended[order])
        heads = [rows[name][bounds[:-1]].tolist() for name in ("sub_env", "episode", "decision")]
        whole: list[tuple[int, Episode]] = []
        for first, stop, sub_env, number, decision in zip(bounds, bounds[1:], *heads, strict=False):
            lane = (actor_id, session, sub_env)
            fits = self._extend(lane, number, decision, (message, slice(first, stop)))
            row = int(order[stop - 1])
            if fits and ended[row]:
                self._settled[lane] = number + 1
                whole.append((row, _join(lane, self._open.pop(lane), columns, row)))
        return [episode for _, episode in sorted(whole, key=lambda pair: pair[0])]

    def end_session(self, actor_id: str, session: int) -> list[Episode]:
        """The session will never send again: its half-finished episodes, cut short at their last row."""
        lanes = [lane for lane in self._open if lane[:2] == (actor_id, session)]
        for lane in lanes:
            self._settled[lane] = self._open[lane].number + 1
        return [_join(lane, self._open.pop(lane), None, 0) for lane in sorted(lanes)]

    def _extend(self, lane: Lane, number: int, decision: int, part: tuple[_Message, slice]) -> bool:
        """Append a run of decisions; False where it was seen before or does not fit."""
        opened = self._open.get(lane)
        if number < max(self._settled.get(lane, 0), opened.number if opened else 0):
            return False
        if opened is not None and number == opened.number and decision < opened.next_decision:
            seen = opened.next_decision - decision
            message, rows = part
            if rows.start + seen >= rows.stop:
                return False
            decision, part = opened.next_decision, (message, slice(rows.start + seen, rows.stop))
        elif decision == 0 and (opened is None or number > opened.number):
            self._begin(lane, number)
            opened = self._open[lane]
        if opened is None or (number, decision) != (opened.number, opened.next_decision):
            self._skip(lane, number, decision)
            return False
        opened.parts.append(part)
        opened.next_decision += part[1].stop - part[1].start
        return True

    def _begin(self, lane: Lane, number: int) -> None:
        before = self._open.get(lane)
        if before is not None:
            self.dropped += 1
            log.warning("dropped episode %d of %s: the next one began before its end", before.number, lane)
        self._open[lane] = _Open(number)
        self._skipping.pop(lane, None)

    def _skip(self, lane: Lane, number: int, decision: int) -> None:
        """Drop what a hole broke; the rest of a broken episode is passed over in silence."""
        broken = {number} - {self._skipping.get(lane)}
        opened = self._open.pop(lane, None)
        if opened is not None:
            broken.add(opened.number)
        self._skipping[lane] = number
        for lost in sorted(broken):
            self.dropped += 1
            log.warning("dropped episode %d of %s: a hole before decision %d", lost, lane, decision)


def _sorted_message(columns: Columns, order: np.ndarray, position: int) -> _Message:
    parts = [columns[name] for name in _FRAME_COLUMNS]
    parts[-2:] = [part[..., None] for part in parts[-2:]]
    rows = len(order)
    finals_before = np.searchsorted(columns["final_row"], np.arange(rows))
    return _Message(
        values=np.concatenate(parts, axis=2, dtype=np.float32)[order],
        frames=columns["frames"][order],
        version=columns["weights_version"][order],
        position=(position + np.arange(rows) + finals_before)[order],
        base_plan=columns["base_plan"][order],
        residual=columns["residual"][order],
        images={
            name.removeprefix(IMAGE_PREFIX): images[order]
            for name, images in columns.items()
            if name.startswith(IMAGE_PREFIX)
        },
    )


def _run_bounds(rows: Columns, ended: np.ndarray) -> list[int]:
    """Where, in rows sorted by sub-environment, runs of consecutive decisions of one episode begin."""
    breaks = (
        (rows["sub_env"][1:] != rows["sub_env"][:-1])
        | (rows["episode"][1:] != rows["episode"][:-1])
        | (rows["decision"][1:] != rows["decision"][:-1] + 1)
        | ended[:-1]
    )
    return [0, *(np.flatnonzero(breaks) + 1).tolist(), len(ended)] if len(ended) else [0]


def _join(lane: Lane, opened: _Open, columns: Columns | None, row: int) -> Episode:
    """Lay the frames of all parts end to end; `columns` are those of the message with its last row."""
    frames = np.concatenate([message.frames[part] for message, part in opened.parts])
    values = np.concatenate([message.values[part] for message, part in opened.parts])
    every = values.shape[1]
    values = values.reshape(-1, values.shape[2])
    executed: np.ndarray | slice = slice(None)
    if frames.min() < every:
        executed = (np.arange(every) < frames[:, None]).reshape(-1)
        values = values[executed]
    decision_start = np.zeros(len(values), bool)
    decision_start[np.cumsum(frames) - frames] = True
    last, at = opened.parts[-1][0], opened.parts[-1][1].stop - 1
    final = -1 if columns is None else int(np.searchsorted(columns["final_row"], row))
    plan = last.base_plan[at]
    observation_dim = values.shape[1] - 3 * plan.shape[1] - 2
    return Episode(
        lane=lane,
        number=opened.number,
        values=values,
        decision_start=decision_start,
        weights_version=np.repeat(
            np.concatenate([message.version[part] for message, part in opened.parts]), frames
        ),
        positions=np.concatenate([message.position[part] for message, part in opened.parts]),
        terminated=columns is not None and bool(columns["terminated"][row]),
        truncated=columns is None or bool(columns["truncated"][row]),
        final_known=columns is not None,
        final_observation=(
            np.zeros(observation_dim, np.float32) if columns is None else columns["final_observation"][final]
        ),
        final_base_plan=np.zeros_like(plan) if columns is None else columns["final_base_plan"][final],
        last_base_plan=plan,
        last_residual=last.residual[at],
        images={
            camera: np.concatenate([message.images[camera][part] for message, part in opened.parts]).reshape(
                -1, *images.shape[2:]
            )[executed]
            for camera, images in last.images.items()
        },
        final_images={
            camera: np.zeros_like(images[0, 0])
            if columns is None
            else columns[FINAL_IMAGE_PREFIX + camera][final]
            for camera, images in last.images.items()
        },
    )
