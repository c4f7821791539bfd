"""Transitions of goal tasks as if another goal had been asked for: one that was reached later (HER).

Andrychowicz et al. 2017, arXiv 1707.01495, with goals of the strategy "future". A ring has the observation
before each decision and the last one of an episode: a goal is reached where one of these is near it, and that
ends the episode, as success does.
"""

from typing import NamedTuple

import numpy as np
import torch

from config.task import GoalConfig
from learner.replay.memory.rows import Flags, Floats, Rows, Slots
from learner.replay.memory.transitions import Ends, TransitionBatch


class Relabelled(NamedTuple):
    """Of B transitions."""

    chosen: Flags
    """b1 (B,): those with another goal."""
    goal: Floats
    """f4 (B, G), the other goal."""
    ends: Ends
    """Reward, discount and end of all with the other goal."""


class Hindsight:
    """Which transitions get another goal, and what they are worth then.

    Args:
        goal: where an observation has the place reached and the place asked for.
        goals: reached goals for each that was asked for: a share goals / (goals + 1) is relabelled.
    """

    def __init__(self, goal: GoalConfig, goals: int) -> None:
        self._goal, self._share = goal, goals / (goals + 1)

    def relabel(
        self,
        rows: Rows,
        batch: TransitionBatch,
        end: Slots,
        start: Slots,
        rng: np.random.Generator,
        *,
        n_step: int,
        gamma: float,
        reward_offset: float,
    ) -> tuple[TransitionBatch, Slots]:
        """`batch`, which begins at `start` and ends at `end`, with some goals replaced; and where it ends."""
        found = self.of(rows, start, rng, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
        at = torch.as_tensor(np.flatnonzero(found.chosen)).to(batch.observation.device)
        new = {
            "goal": found.goal[found.chosen],
            "reward": found.ends.reward[found.chosen],
            "discount": found.ends.discount[found.chosen],
        }
        here = {name: torch.as_tensor(values).to(batch.observation.device) for name, values in new.items()}
        last = torch.as_tensor(found.ends.slots[found.chosen]).to(batch.observation.device)
        o, width = batch.observation.shape[1], batch.base_plan.shape[1]
        after = rows.block.index_select(0, last)
        batch.next_observation[at] = after[:, :o]
        batch.next_base_plan[at] = after[:, o : o + width]
        first, stop = self._goal.desired
        for seen in (batch.observation, batch.next_observation):
            seen[at, first:stop] = here["goal"]
        batch.reward[at], batch.discount[at] = here["reward"], here["discount"]
        return batch, np.where(found.chosen, found.ends.slots, end)

    def of(
        self,
        rows: Rows,
        start: Slots,
        rng: np.random.Generator,
        *,
        n_step: int,
        gamma: float,
        reward_offset: float,
    ) -> Relabelled:
        """Other goals for the transitions over up to `n_step` decisions that begin at slots `start`."""
        chosen = rng.random(len(start)) < self._share
        goal = self._reached(rows, future_of(rows, start, rng))
        slots, reward, discount = start, np.zeros(len(start)), np.ones(len(start), np.float32)
        over = np.zeros(len(start), bool)
        for step in range(n_step):
            now = rows.facts[slots]
            goes_on = (now["following"] != rows.unknown) & ~over
            after = np.where(goes_on, now["following"], slots)
            hit = goes_on & (np.linalg.norm(self._reached(rows, after) - goal, axis=1) < self._goal.threshold)
            reward += np.where(goes_on, gamma**step * (hit + reward_offset), 0)
            # An end by success was of the goal that was asked for, any other end is of the task.
            dead = goes_on & now["terminated"] & (now["reward"] <= 0)
            over |= dead | hit
            discount = np.where(goes_on, gamma ** (step + 1) * ~over, discount).astype(np.float32)
            slots = after
        return Relabelled(chosen, goal, Ends(slots, reward.astype(np.float32), discount))

    def _reached(self, rows: Rows, slots: Slots) -> Floats:
        first, stop = self._goal.achieved
        at = torch.as_tensor(slots).to(rows.block.device)
        return np.asarray(rows.block.index_select(0, at)[:, first:stop].cpu(), np.float32)


def future_of(rows: Rows, start: Slots, rng: np.random.Generator) -> Slots:
    """For each slot one of those that follow it in its episode, the final observation included, all equally
    likely."""
    later = picked = rows.following[start]
    for count in range(2, rows.capacity + 1):
        after = rows.following[later]
        goes_on = after != rows.unknown
        if not goes_on.any():
            break
        # The count-th of those seen so far replaces the one that was picked with probability 1 / count.
        picked = np.where(goes_on & (rng.random(len(start)) * count < 1), after, picked)
        later = np.where(goes_on, after, rows.unknown)
    return picked
