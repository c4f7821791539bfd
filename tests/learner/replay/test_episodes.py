"""Decisions become the same episodes however they arrive, and each episode has its own statistics."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.episode import Episode
from learner.replay.dataset.format.statistics import QUANTILES, describe
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
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    columns=st.integers(1, 20),
    decimals=st.integers(0, 3),
)
def test_statistics_of_many_episodes_are_those_of_each(seed, lengths, columns, decimals):
    rng = np.random.default_rng(seed)
    values = np.round(rng.standard_normal((sum(lengths), columns)), decimals)
    described = describe(values, np.array(lengths))
    for episode, seen in zip(np.split(values, np.cumsum(lengths)[:-1]), described, strict=True):
        exact = [episode.min(0), episode.max(0), episode.mean(0), episode.std(0)]
        np.testing.assert_allclose(seen[:4], exact, rtol=1e-12, atol=1e-12)
        quantiles = np.quantile(episode, [*QUANTILES.values()], axis=0, method="inverted_cdf")
        np.testing.assert_array_equal(seen[4:], quantiles)
