"""Windows of a set that grows, and batches of several sets that resume to the bit."""

import numpy as np
import pytest

from learner.base_training.episodes import EpisodeSet, WindowShape
from learner.base_training.sampler import Source, WindowSampler
from learner.base_training.windows import published_shape

CHUNK = WindowShape((0,), (0, 1, 2), leave_out=0, stands_still=False)


def episode(number: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Every value says where it is from: 1000 * episode + frame."""
    frame = 1000 * number + np.arange(frames + 1, dtype=np.float32)[:, None]
    return np.repeat(frame, 2, axis=1), np.repeat(frame[:-1], 3, axis=1)


def set_of(shape: WindowShape, *lengths: int) -> EpisodeSet:
    found = EpisodeSet(shape, 2, 3)
    for number, frames in enumerate(lengths):
        found.add(*episode(number, frames))
    return found


def test_a_window_never_reaches_into_another_episode():
    found = set_of(CHUNK, 4, 2, 5)
    drawn = found.windows(np.arange(len(found)))
    assert len(found) == 11 and found.episodes == 3 and found.frames == 11
    assert drawn.actions[3, :, 0].tolist() == [3, 3, 3] and drawn.padded[3].tolist() == [False, True, True]
    assert drawn.history[4, :, 0].tolist() == [1000]
    assert drawn.actions[4, :, 0].tolist() == [1000, 1001, 1001]
    assert [found.place(row) for row in (0, 3, 4, 10)] == [(0, 0), (0, 3), (1, 0), (2, 4)]


def test_windows_stay_the_same_while_the_set_grows():
    found = set_of(published_shape(2, 4), *[9] * 50)
    rows = np.array([0, 7, 100, len(found) - 1])
    before = found.windows(rows)
    for number in range(50, 400):
        found.add(*episode(number, 9))
    for one, other in zip(before, found.windows(rows), strict=True):
        assert np.array_equal(one, other)
    assert len(found) == 400 * 8


def test_a_part_of_an_episode_has_only_windows_that_it_fills():
    found = EpisodeSet(CHUNK, 2, 3)
    assert found.add(*episode(0, 5), is_whole=False) == 3
    assert found.add(*episode(1, 2), is_whole=False) == 0
    drawn = found.windows(np.arange(3))
    assert not drawn.padded.any() and drawn.actions[2, :, 0].tolist() == [2, 3, 4]


def sampler(grown: EpisodeSet, prior: EpisodeSet) -> WindowSampler:
    sources = (Source("successes", grown, 0.75), Source("prior", prior, 0.25))
    return WindowSampler(sources, 16, seed=3, device="cpu")


def test_the_draw_after_a_resume_is_the_one_that_would_have_come_also_from_a_set_that_grew():
    grown, prior = set_of(CHUNK, 5, 6), set_of(CHUNK, 7)
    straight = sampler(grown, prior)
    straight.next()
    saved = straight.state()
    grown.add(*episode(2, 9))
    wanted = [straight.next() for _ in range(3)]
    resumed = sampler(set_of(CHUNK, 5, 6, 9), set_of(CHUNK, 7))
    resumed.load_state(saved)
    for batch in wanted:
        again = resumed.next()
        assert all(value.equal(again[name]) for name, value in batch.items())


def test_each_source_has_its_share_of_every_batch_and_an_empty_one_gives_it_to_the_others():
    empty, prior = EpisodeSet(CHUNK, 2, 3), set_of(CHUNK, 7)
    drawn = sampler(empty, prior)
    assert drawn.counts() == [0, 16]
    assert drawn.next()["history"].shape == (16, 1, 2)
    empty.add(*episode(4, 3))
    assert drawn.counts() == [12, 4]
    assert (drawn.next()["history"][:12] >= 4000).all()
    with pytest.raises(ValueError, match="no windows"):
        sampler(EpisodeSet(CHUNK, 2, 3), EpisodeSet(CHUNK, 2, 3)).next()


def test_it_says_where_an_earlier_batch_is_from():
    drawn = sampler(set_of(CHUNK, 5, 6), set_of(CHUNK, 7))
    wanted = drawn.next()
    drawn.next()
    found = drawn.drawn(later=1)
    assert np.array_equal(found.windows.actions, wanted["actions"])
    for (name, number, frame), history in zip(found.places, found.windows.history, strict=True):
        assert name in ("successes", "prior") and history[0, 0] == 1000 * number + frame
