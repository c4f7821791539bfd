"""Decisions of many interleaved sub-environments -> whole episodes, one row a frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from protocol.messages import Columns

log = logging.getLogger(__name__)

Key = tuple[str, int]

_FRAME_COLUMNS = ("observation", "action", "base_plan", "residual", "reward", "success")
_ROW_COLUMNS = (
    *_FRAME_COLUMNS, "frames", "terminated", "truncated", "sub_env", "episode", "decision", "weights_version",
)  # fmt: skip

EXPERIENCE_COLUMNS = frozenset((*_ROW_COLUMNS, "final_row", "final_observation", "final_base_plan"))


@dataclass(frozen=True)
class Episode:
    """Reset to end in one sub-environment: T frames, k = residual_every.

    The last decision may be shorter than k; its whole plan and residual are what the critic saw.
    """

    actor_id: str
    sub_env: int
    observation: np.ndarray
    """f4 (T, O), before each frame's action."""
    action: np.ndarray
    """f4 (T, A), executed."""
    base_action: np.ndarray
    """f4 (T, A)"""
    residual: np.ndarray
    """f4 (T, A)"""
    reward: np.ndarray
    """f4 (T,)"""
    success: np.ndarray
    """b1 (T,)"""
    decision_start: np.ndarray
    """b1 (T,), the first frame of each decision."""
    weights_version: np.ndarray
    """i8 (T,)"""
    terminated: bool
    truncated: bool
    final_observation: np.ndarray
    """f4 (O,)"""
    final_base_plan: np.ndarray
    """f4 (k, A), zeros where terminated."""
    last_base_plan: np.ndarray
    """f4 (k, A)"""
    last_residual: np.ndarray
    """f4 (k, A)"""

    def __len__(self) -> int:
        return len(self.reward)


@dataclass
class _Open:
    """An episode that goes on."""

    episode: int
    next_decision: int = 0
    parts: list[Columns] = field(default_factory=list)


class EpisodeAssembler:
    """Puts decisions together by actor, sub-environment and episode.

    An episode with a hole in its decisions is dropped whole, with a warning: a trajectory with a jump
    in it would look right and teach something wrong.
    """

    def __init__(self) -> None:
        self._open: dict[Key, _Open] = {}
        self._skipping: dict[Key, int] = {}
        self.dropped = 0
        """Episodes that were lost to holes or began anew before their end."""

    @property
    def unfinished(self) -> int:
        """Episodes whose end has not arrived."""
        return len(self._open)

    def add(self, actor_id: str, columns: Columns) -> list[Episode]:
        """Take the columns of one message; return the episodes that it ended, in the order they ended."""
        order = np.argsort(columns["sub_env"], kind="stable")
        rows = {name: columns[name][order] for name in _ROW_COLUMNS}
        ended = rows["terminated"] | rows["truncated"]
        whole: list[tuple[int, Episode]] = []
        for first, stop in pairwise(_run_bounds(rows, ended)):
            key = (actor_id, int(rows["sub_env"][first]))
            self._extend(key, {name: column[first:stop] for name, column in rows.items()})
            if ended[stop - 1] and key in self._open:
                row = int(order[stop - 1])
                final = int(np.searchsorted(columns["final_row"], row))
                whole.append((row, _join(key, self._open.pop(key).parts, columns, final)))
        return [episode for _, episode in sorted(whole, key=lambda pair: pair[0])]

    def _extend(self, key: Key, part: Columns) -> None:
        episode, decision = int(part["episode"][0]), int(part["decision"][0])
        if decision == 0:
            self._begin(key, episode)
        opened = self._open.get(key)
        if opened is None or (episode, decision) != (opened.episode, opened.next_decision):
            self._skip(key, episode, decision)
            return
        opened.parts.append(part)
        opened.next_decision += len(part["decision"])

    def _begin(self, key: Key, episode: int) -> None:
        before = self._open.get(key)
        if before is not None:
            self.dropped += 1
            log.warning("dropped episode %d of %s/%d: it began anew before its end", before.episode, *key)
        self._open[key] = _Open(episode)
        self._skipping.pop(key, None)

    def _skip(self, key: Key, episode: int, decision: int) -> None:
        """Drop what a hole broke; the rest of a broken episode is passed over in silence."""
        broken = {episode} - {self._skipping.get(key)}
        opened = self._open.pop(key, None)
        if opened is not None:
            broken.add(opened.episode)
        self._skipping[key] = episode
        for lost in sorted(broken):
            self.dropped += 1
            log.warning("dropped episode %d of %s/%d: a hole before decision %d", lost, *key, decision)


def _run_bounds(rows: Columns, ended: np.ndarray) -> list[int]:
    """Where, in rows sorted by sub-environment, runs of consecutive decisions of one episode begin."""
    breaks = (
        (rows["sub_env"][1:] != rows["sub_env"][:-1])
        | (rows["episode"][1:] != rows["episode"][:-1])
        | (rows["decision"][1:] != rows["decision"][:-1] + 1)
        | ended[:-1]
    )
    return [0, *(np.flatnonzero(breaks) + 1).tolist(), len(ended)] if len(ended) else []


def _join(key: Key, parts: list[Columns], message: Columns, final: int) -> Episode:
    """Lay the frames of all parts end to end; `final` indexes the message's final observations."""
    frames = np.concatenate([part["frames"] for part in parts])
    executed = np.arange(parts[0]["reward"].shape[1]) < frames[:, None]
    by_frame = {name: np.concatenate([part[name] for part in parts])[executed] for name in _FRAME_COLUMNS}
    decision_start = np.zeros(len(by_frame["reward"]), bool)
    decision_start[np.cumsum(frames) - frames] = True
    last = parts[-1]
    return Episode(
        actor_id=key[0],
        sub_env=key[1],
        observation=by_frame["observation"],
        action=by_frame["action"],
        base_action=by_frame["base_plan"],
        residual=by_frame["residual"],
        reward=by_frame["reward"],
        success=by_frame["success"],
        decision_start=decision_start,
        weights_version=np.repeat(np.concatenate([part["weights_version"] for part in parts]), frames),
        terminated=bool(last["terminated"][-1]),
        truncated=bool(last["truncated"][-1]),
        final_observation=message["final_observation"][final],
        final_base_plan=message["final_base_plan"][final],
        last_base_plan=last["base_plan"][-1],
        last_residual=last["residual"][-1],
    )
