"""Transitions over up to n decisions, against a loop over single rows."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.replay.memory.rows import FACTS
from learner.replay.memory.transitions import find_ends, gather


def random_facts(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Rows that lead to later ones, to none, or to their episode's end."""
    facts = np.zeros(rows + 1, FACTS)
    after = np.arange(rows) + rng.integers(1, 4, rows)
    facts["following"][:-1] = np.where((after < rows) & (rng.random(rows) < 0.9), after, rows)
    facts["following"][-1] = rows
    facts["reward"][:-1] = rng.standard_normal(rows)
    facts["terminated"][:-1] = rng.random(rows) < 0.1
    return facts


def one_end(facts: np.ndarray, slot: int, n_step: int, gamma: float, offset: float):
    total, discount, unknown = 0.0, 1.0, len(facts) - 1
    for step in range(n_step):
        after = facts["following"][slot]
        if after == unknown:
            break
        total += gamma**step * (facts["reward"][slot] + offset)
        discount = 0.0 if facts["terminated"][slot] else gamma ** (step + 1)
        slot = after
    return slot, total, discount


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 300),
    drawn=st.integers(0, 60),
    n_step=st.integers(1, 8),
    gamma=st.floats(0.1, 1.0),
    offset=st.sampled_from([0.0, -1.0, 0.1]),
)
def test_many_at_once_end_where_each_alone_ends(seed, rows, drawn, n_step, gamma, offset):
    rng = np.random.default_rng(seed)
    facts, start = random_facts(rng, rows), rng.integers(rows, size=drawn)
    ends = find_ends(facts, start, n_step=n_step, gamma=gamma, reward_offset=offset)
    assert (ends.slots.dtype, ends.reward.dtype, ends.discount.dtype) == (np.int64, np.float32, np.float32)
    for i, slot in enumerate(start):
        end, reward, discount = one_end(facts, slot, n_step, gamma, offset)
        assert ends.slots[i] == end
        np.testing.assert_allclose(
            [ends.reward[i], ends.discount[i]], [reward, discount], rtol=1e-4, atol=1e-5
        )
    width = int(rng.integers(1, 70))
    table, head = torch.from_numpy(rng.random((rows, width), np.float32)), int(rng.integers(1, width + 1))
    before, after = gather(table, start, ends.slots, head)
    assert torch.equal(before, table[start])
    assert torch.equal(after, table[ends.slots, :head])
