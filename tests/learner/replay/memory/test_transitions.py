"""Native code and numpy make the same transitions, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.replay.memory import transitions
from learner.replay.memory.ring import Ring
from learner.replay.memory.rows import FACTS
from learner.replay.memory.transitions import find_ends, gather
from tests.support.columns import rollout_messages as messages


@pytest.fixture
def no_compiler(monkeypatch):
    transitions.library.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    yield
    transitions.library.cache_clear()


def random_facts(rng, rows):
    """Rows that lead to later ones, to none, or to their episode's end."""
    facts = np.zeros(rows + 1, FACTS)
    facts["following"][:-1] = np.arange(rows) + rng.integers(1, 4, rows)
    facts["following"] = np.where(
        (facts["following"] < rows) & (rng.random(rows + 1) < 0.9), facts["following"], rows
    )
    facts["following"][-1] = rows
    facts["reward"][:-1] = rng.standard_normal(rows)
    facts["terminated"][:-1] = rng.random(rows) < 0.1
    return facts


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 300),
    drawn=st.integers(0, 600),
    n_step=st.integers(1, 8),
    gamma=st.floats(0.1, 1.0),
    offset=st.sampled_from([0.0, -1.0, 0.1]),
)
def test_both_ways_agree_to_the_bit(seed, rows, drawn, n_step, gamma, offset):
    rng = np.random.default_rng(seed)
    facts, start = random_facts(rng, rows), rng.integers(rows, size=drawn)
    assert transitions.library() is not None
    native = find_ends(facts, start, n_step=n_step, gamma=gamma, reward_offset=offset)
    powers = np.power(np.float32(gamma), np.arange(n_step + 1, dtype=np.float32))
    plain = transitions._ends_with_numpy(facts, start, powers, np.float32(offset))
    for one, other in zip(native, plain, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    width = int(rng.integers(1, 70))
    table, head = torch.from_numpy(rng.random((rows, width), np.float32)), int(rng.integers(1, width + 1))
    before, after = gather(table, start, native.slots, head)
    assert torch.equal(before, table[start])
    assert torch.equal(after, table[native.slots, :head])


def test_without_a_compiler_the_same_batches_come_and_one_line_says_so(no_compiler, monkeypatch, caplog):
    def batches():
        ring = Ring(64, 3, 2)
        for columns in messages([[9], [5], [7]], frames=60):
            ring.add("a", columns)
        rng = np.random.default_rng(0)
        return [ring.sample(50, rng, n_step=n, gamma=0.9, reward_offset=-1.0) for n in (1, 3)]

    plain = batches()
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the replay is sampled with numpy, slower than native code"
    ]
    monkeypatch.undo()
    transitions.library.cache_clear()
    for one, other in zip(plain, batches(), strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
