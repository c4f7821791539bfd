"""Preallocated replay of transitions: seeded uniform sampling, n-step returns, checkable.

Every decision is one row; every episode's final observation is one more, so that each observation
is stored once. `following[row]` is the row of the same sub-environment's next decision (or final
observation), which makes transitions right for any interleaving of any number of actors. A row
whose successor has not arrived is never sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from protocol.messages import Columns

UNKNOWN = -1


class Batch(NamedTuple):
    """Transitions over up to n decisions; B rows, all float32.

    The loss sees `discount`: gamma^m, and 0 where the episode terminated within the m decisions.
    A truncated episode keeps its discount and bootstraps from its true final observation.
    """

    observation: np.ndarray
    base_plan: np.ndarray
    residual: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    next_observation: np.ndarray
    next_base_plan: np.ndarray


@dataclass(frozen=True)
class OpenDecision:
    """The newest decision of a sub-environment, waiting for its successor."""

    position: int
    episode: int
    decision: int


class Ring:
    """Rows 0 .. capacity - 1, overwritten oldest first.

    Args:
        residual_numbers: k * A, the flat width of a base plan and of a residual.
    """

    def __init__(self, capacity: int, observation_dim: int, residual_numbers: int) -> None:
        self.capacity = capacity
        self.observation = np.zeros((capacity, observation_dim), np.float32)
        self.base_plan = np.zeros((capacity, residual_numbers), np.float32)
        self.residual = np.zeros((capacity, residual_numbers), np.float32)
        self.reward = np.zeros(capacity, np.float32)
        self.terminated = np.zeros(capacity, bool)
        self.following = np.full(capacity, UNKNOWN, np.int64)
        # How many rows were ever written: row `position` lies in slot `position % capacity`.
        self.position = 0
        self.unlinked = 0
        self._open: dict[tuple[str, int], OpenDecision] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that are allocated, all of them at the start."""
        arrays = (self.observation, self.base_plan, self.residual)
        small = (self.reward, self.terminated, self.following)
        return sum(array.nbytes for array in arrays + small)

    def __len__(self) -> int:
        return min(self.position, self.capacity)

    def add(self, actor_id: str, columns: Columns) -> None:
        """Append the decisions of one message (see `protocol.messages.Experience`).

        Raises:
            ValueError: the message holds more rows than the ring.
        """
        decisions, finals = len(columns["frames"]), columns["final_row"]
        total = decisions + len(finals)
        if total > self.capacity:
            raise ValueError(f"{total} rows in one message exceed the ring's capacity {self.capacity}")
        # A final observation lies right behind the decision that it ends.
        endings_before = np.searchsorted(finals, np.arange(decisions))
        positions = self.position + np.arange(decisions) + endings_before
        final_positions = positions[finals] + 1
        slots, final_slots = positions % self.capacity, final_positions % self.capacity
        self.following[slots] = UNKNOWN
        self.following[final_slots] = UNKNOWN
        self.observation[slots] = columns["observation"][:, 0]
        self.base_plan[slots] = columns["base_plan"].reshape(decisions, -1)
        self.residual[slots] = columns["residual"].reshape(decisions, -1)
        self.reward[slots] = columns["reward"].sum(1)
        self.terminated[slots] = columns["terminated"]
        self.observation[final_slots] = columns["final_observation"]
        self.base_plan[final_slots] = columns["final_base_plan"].reshape(len(finals), self.base_plan.shape[1])
        self.residual[final_slots] = 0
        self.reward[final_slots] = 0
        self.terminated[final_slots] = False
        self.position += total
        self.following[slots[finals]] = final_slots
        self._link(actor_id, columns, positions)

    def _link(self, actor_id: str, columns: Columns, positions: np.ndarray) -> None:
        """Point every decision at its successor, within the message and across messages."""
        ended = columns["terminated"] | columns["truncated"]
        episode, decision = columns["episode"], columns["decision"]
        order = np.argsort(columns["sub_env"], kind="stable")
        sub_env = columns["sub_env"][order]
        first = np.flatnonzero(np.r_[True, sub_env[1:] != sub_env[:-1]])
        last = np.r_[first[1:], len(order)] - 1
        earlier, later = order[:-1], order[1:]
        follows = (
            (sub_env[1:] == sub_env[:-1])
            & ~ended[earlier]
            & (episode[later] == episode[earlier])
            & (decision[later] == decision[earlier] + 1)
        )
        self.following[positions[earlier[follows]] % self.capacity] = (
            positions[later[follows]] % self.capacity
        )
        for head, tail in zip(order[first], order[last], strict=True):
            key = (actor_id, int(columns["sub_env"][head]))
            self._link_across(self._open.pop(key, None), int(positions[head]), columns, int(head))
            if not ended[tail]:
                self._open[key] = OpenDecision(int(positions[tail]), int(episode[tail]), int(decision[tail]))

    def _link_across(self, before: OpenDecision | None, position: int, columns: Columns, row: int) -> None:
        if before is None or before.position < self.position - self.capacity:
            return
        expected = (before.episode, before.decision + 1)
        if expected == (int(columns["episode"][row]), int(columns["decision"][row])):
            self.following[before.position % self.capacity] = position % self.capacity
        else:
            # A restarted actor or a hole: the open row never gets a successor and is never sampled.
            self.unlinked += 1

    def sample(
        self, rows: int, rng: np.random.Generator, *, n_step: int, gamma: float, reward_offset: float
    ) -> Batch:
        """`rows` transitions, uniform over all rows that have a successor.

        Args:
            reward_offset: added to every decision's reward (-1 for "sparse minus one").

        Raises:
            ValueError: nothing can be sampled yet.
        """
        return self.transitions(
            self._draw(rows, rng), n_step=n_step, gamma=gamma, reward_offset=reward_offset
        )

    def transitions(self, start: np.ndarray, *, n_step: int, gamma: float, reward_offset: float) -> Batch:
        """n-step transitions that begin at slots `start`, each of which has a successor.

        A chain ends early at an episode's end, or where the next successor has not arrived.
        """
        reward = self.reward[start] + np.float32(reward_offset)
        discount = np.full(len(start), gamma, np.float32)
        end = self.following[start]
        alive = ~self.terminated[start]
        discount[~alive] = 0
        for _ in range(n_step - 1):
            onward = alive & (self.following[end] != UNKNOWN)
            reward = np.where(
                onward, reward + discount * (self.reward[end] + np.float32(reward_offset)), reward
            )
            stops = onward & self.terminated[end]
            discount = np.where(onward, np.where(stops, 0, discount * np.float32(gamma)), discount)
            end = np.where(onward, self.following[end], end)
            alive = onward & ~stops
        return Batch(
            observation=self.observation[start],
            base_plan=self.base_plan[start],
            residual=self.residual[start],
            reward=reward.astype(np.float32),
            discount=discount.astype(np.float32),
            next_observation=self.observation[end],
            next_base_plan=self.base_plan[end],
        )

    def _draw(self, rows: int, rng: np.random.Generator, attempts: int = 100) -> np.ndarray:
        """Slots with a successor, uniform, by rejection: all but a few rows have one."""
        if not len(self):
            raise ValueError("the replay is empty")
        drawn = rng.integers(len(self), size=rows)
        for _ in range(attempts):
            rejected = self.following[drawn] == UNKNOWN
            if not rejected.any():
                return drawn
            drawn[rejected] = rng.integers(len(self), size=int(rejected.sum()))
        raise ValueError(f"no transition among {len(self)} rows: every decision waits for its successor")

    def check_valid(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests and debugging."""
        slots = np.flatnonzero(self.following != UNKNOWN)
        assert len(slots) == 0 or slots.max() < len(self), "a successor outside the written rows"
        after = self.following[slots]
        age = (self.position - 1 - slots) % self.capacity
        assert np.all((self.position - 1 - after) % self.capacity < age), "a successor older than its row"
        assert len(np.unique(after)) == len(after), "two rows share a successor"
