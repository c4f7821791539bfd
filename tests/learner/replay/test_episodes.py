"""Decisions become the same episodes however they come; statistics are the same natively and with numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learner.replay.dataset import statistics as lerobot_stats
from learner.replay.dataset.episodes import Episode, EpisodeAssembler
from learner.replay.dataset.statistics import STATISTICS, describe
from tests.support.identifiable import in_messages, make_stream


@given(cuts=st.lists(st.integers(0, 40), max_size=6), size=st.integers(1, 9), again=st.booleans())
def test_many_messages_at_once_give_the_same_episodes_as_one_by_one(cuts, size, again) -> None:
    _, rows = make_stream("peg", 0, [9, 13, 5, 7, 1, 30, 4, 8], sub_envs=3)
    kept = [row for i, row in enumerate(rows) if i not in cuts]
    sent = [(columns, 100 * i) for i, columns in enumerate(in_messages(kept, size))]
    if again:
        sent = [message for pair in zip(sent, sent, strict=True) for message in pair]
    alone, together = EpisodeAssembler(), EpisodeAssembler()
    ended = [episode for message in sent for episode in alone.add("peg", 0, [message])]
    ended += alone.end_session("peg", 0)
    middle = len(sent) // 2
    same = [e for part in (sent[:middle], sent[middle:]) if part for e in together.add("peg", 0, part)]
    same += together.end_session("peg", 0)
    assert alone.dropped == together.dropped
    for one, other in zip(ended, same, strict=True):
        for name in Episode.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=6),
    columns=st.integers(1, 20),
    decimals=st.integers(0, 3),
)
def test_both_ways_of_statistics_agree(seed, lengths, columns, decimals):
    rng = np.random.default_rng(seed)
    values = np.round(rng.standard_normal((sum(lengths), columns)), decimals)
    assert lerobot_stats.library() is not None
    native = describe(values, np.array(lengths))
    plain = lerobot_stats._describe_with_numpy(values, np.array(lengths))
    for i, name in enumerate(STATISTICS):
        if name in ("mean", "std"):
            np.testing.assert_allclose(native[:, i], plain[:, i], rtol=1e-12, atol=1e-12)
        else:
            np.testing.assert_array_equal(native[:, i], plain[:, i])


def test_without_a_compiler_statistics_come_from_numpy_and_one_line_says_so(monkeypatch, caplog):
    lerobot_stats.library.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    values = np.arange(12.0).reshape(6, 2)
    described = [describe(values, np.array([4, 2])) for _ in range(2)]
    lerobot_stats.library.cache_clear()
    assert described[0][:, 1].tolist() == [[6, 7], [10, 11]]
    assert len([record for record in caplog.records if "no C++ compiler" in record.message]) == 1
