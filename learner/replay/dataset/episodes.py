"""Decisions of many interleaved sub-environments -> whole episodes, one row a frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX
from protocol.messages import Columns

log = logging.getLogger(__name__)

Lane = tuple[str, int, int]
"""Actor id, session, sub-environment: in a lane, episodes follow one another."""

_FRAME_COLUMNS = ("observation", "action", "base_plan", "residual", "reward", "success")
_ROW_COLUMNS = (
    *_FRAME_COLUMNS, "frames", "terminated", "truncated", "sub_env", "episode", "decision", "weights_version",
)  # fmt: skip


_SMALL_COLUMNS = tuple(name for name in _ROW_COLUMNS if name not in _FRAME_COLUMNS)

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
class _Block:
    """Rows of messages of one session, sorted by sub-environment, what belongs to a frame side by side."""

    values: np.ndarray
    """f4 (D, k, O + 3 A + 2)"""
    facts: np.ndarray
    """i8 (D, 3): frames, weights version, place in the stream of rows."""
    observation_dim: int
    action_dim: int
    images: dict[str, np.ndarray]
    """u1 (D, k, H, W, 3)"""


@dataclass
class _Open:
    """An episode that goes on: which rows of which blocks it has so far."""

    number: int
    next_decision: int = 0
    parts: list[tuple[_Block, slice]] = field(default_factory=list)


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

    def add(self, actor_id: str, session: int, messages: Sequence[tuple[Columns, int]]) -> list[Episode]:
        """Take the columns of messages of one session, one after the other; return the episodes that they
        ended, in the order they ended. Many messages at once cost little more than one.

        Args:
            messages: each with the place of its first row in the stream of rows; a final observation takes a
                place of its own behind the decision that it ends.
        """
        columns = {name: _joined(messages, name) for name in _SMALL_COLUMNS}
        final_row = np.flatnonzero(columns["terminated"] | columns["truncated"])
        order = np.argsort(columns["sub_env"], kind="stable")
        block = _sorted_block(messages, columns, order)
        rows = {name: columns[name][order] for name in ("sub_env", "episode", "decision")}
        final_of = np.full(len(order), -1)
        final_of[final_row] = np.arange(len(final_row))
        finals = final_of[order]
        bounds = _run_bounds(rows, finals >= 0)
        heads = [rows[name][bounds[:-1]].tolist() for name in ("sub_env", "episode", "decision")]
        whole: list[tuple[int, Episode]] = []
        end: _End | None = None
        for first, stop, sub_env, number, decision in zip(bounds, bounds[1:], *heads, strict=False):
            lane = (actor_id, session, sub_env)
            fits = self._extend(lane, number, decision, (block, slice(first, stop)))
            final = int(finals[stop - 1])
            if fits and final >= 0:
                end = end or _End(messages, columns, final_row)
                self._settled[lane] = number + 1
                whole.append((final, _join(lane, self._open.pop(lane), end.at(final))))
        return [episode for _, episode in sorted(whole, key=lambda pair: pair[0])]

    def end_session(self, actor_id: str, session: int) -> list[Episode]:
        """The session will never send again: its half-finished episodes, cut short at their last row."""
        lanes = [lane for lane in self._open if lane[:2] == (actor_id, session)]
        for lane in lanes:
            self._settled[lane] = self._open[lane].number + 1
        return [_join(lane, self._open.pop(lane), None) for lane in sorted(lanes)]

    def _extend(self, lane: Lane, number: int, decision: int, part: tuple[_Block, slice]) -> bool:
        """Append a run of decisions; False where it was seen before or does not fit."""
        opened = self._open.get(lane)
        if number < max(self._settled.get(lane, 0), opened.number if opened else 0):
            return False
        if opened is not None and number == opened.number and decision < opened.next_decision:
            seen = opened.next_decision - decision
            block, rows = part
            if rows.start + seen >= rows.stop:
                return False
            decision, part = opened.next_decision, (block, slice(rows.start + seen, rows.stop))
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


def _joined(messages: Sequence[tuple[Columns, int]], name: str) -> np.ndarray:
    if len(messages) == 1:
        return messages[0][0][name]
    return np.concatenate([columns[name] for columns, _ in messages])


def _sorted_block(messages: Sequence[tuple[Columns, int]], joined: Columns, order: np.ndarray) -> _Block:
    """The rows in this order."""
    first, _ = messages[0]
    widths = [first[name].shape[2] if first[name].ndim == 3 else 1 for name in _FRAME_COLUMNS]
    ends = np.cumsum(widths)
    values = np.empty((len(order), first["reward"].shape[1], ends[-1]), np.float32)
    for name, width, end in zip(_FRAME_COLUMNS, widths, ends, strict=True):
        start = 0
        for columns, _ in messages:
            part = columns[name]
            values[start : start + len(part), :, end - width : end] = part.reshape(*part.shape[:2], width)
            start += len(part)
    facts = np.empty((len(order), 3), np.int64)
    facts[:, 0], facts[:, 1] = joined["frames"], joined["weights_version"]
    facts[:, 2] = np.concatenate(
        [
            position + rows + np.searchsorted(columns["final_row"], rows)
            for columns, position in messages
            for rows in [np.arange(len(columns["frames"]))]
        ]
    )
    images = [name for name in first if name.startswith(IMAGE_PREFIX)]
    return _Block(
        values=values[order],
        facts=facts[order],
        observation_dim=widths[0],
        action_dim=widths[1],
        images={name.removeprefix(IMAGE_PREFIX): _joined(messages, name)[order] for name in images},
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


class _Final(NamedTuple):
    """How an episode ended, and what was seen then."""

    terminated: bool
    truncated: bool
    observation: np.ndarray
    base_plan: np.ndarray
    images: dict[str, np.ndarray]


class _End:
    """All endings in some messages."""

    def __init__(
        self, messages: Sequence[tuple[Columns, int]], joined: Columns, final_row: np.ndarray
    ) -> None:
        self._terminated = joined["terminated"][final_row].tolist()
        self._truncated = joined["truncated"][final_row].tolist()
        self._observation = _joined(messages, "final_observation")
        self._base_plan = _joined(messages, "final_base_plan")
        self._images = {
            name.removeprefix(FINAL_IMAGE_PREFIX): _joined(messages, name)
            for name in messages[0][0]
            if name.startswith(FINAL_IMAGE_PREFIX)
        }

    def at(self, number: int) -> _Final:
        return _Final(
            self._terminated[number],
            self._truncated[number],
            self._observation[number],
            self._base_plan[number],
            {camera: images[number] for camera, images in self._images.items()},
        )


def _join(lane: Lane, opened: _Open, final: _Final | None) -> Episode:
    """Lay the frames of all parts end to end; without a `final` it is cut short at its last row."""
    values = np.concatenate([block.values[part] for block, part in opened.parts])
    facts = np.concatenate([block.facts[part] for block, part in opened.parts])
    frames, every = facts[:, 0], values.shape[1]
    last = opened.parts[-1][0]
    o, a = last.observation_dim, last.action_dim
    base_plan, residual = values[-1, :, o + a : o + 2 * a], values[-1, :, o + 2 * a : o + 3 * a]
    values = values.reshape(-1, values.shape[2])
    total = int(frames.sum())
    executed: np.ndarray | slice = slice(total)
    if total - frames[-1] < every * (len(frames) - 1):  # another one than the last is short
        executed = (np.arange(every) < frames[:, None]).reshape(-1)
    values = values[executed]
    decision_start = np.zeros(total, bool)
    decision_start[np.cumsum(frames) - frames] = True
    return Episode(
        lane=lane,
        number=opened.number,
        values=values,
        decision_start=decision_start,
        weights_version=np.repeat(facts[:, 1], frames),
        positions=facts[:, 2],
        terminated=final is not None and final.terminated,
        truncated=final is None or final.truncated,
        final_known=final is not None,
        final_observation=np.zeros(o, np.float32) if final is None else final.observation,
        final_base_plan=np.zeros_like(base_plan) if final is None else final.base_plan,
        last_base_plan=base_plan,
        last_residual=residual,
        images={
            camera: np.concatenate([block.images[camera][part] for block, part in opened.parts]).reshape(
                -1, *images.shape[2:]
            )[executed]
            for camera, images in last.images.items()
        },
        final_images={
            camera: np.zeros_like(images[0, 0]) if final is None else final.images[camera]
            for camera, images in last.images.items()
        },
    )
