"""Batches that are drawn ahead: the same ones, resumed to the bit, and the one that is asked about."""

import numpy as np
import pytest
import torch

from config.algo import AlgoConfig
from learner.replay.memory.batches import Batches
from learner.replay.memory.prefetched import Prefetched
from learner.replay.memory.ring import Ring
from tests.support.columns import SIZES, camera_experience
from tests.support.helpers import make_config

WORDS = (
    "task.cameras=[top,wrist]", "task.camera_size=[32,16]", "learner.demos=null", "algo.prior_fraction=0",
    "algo.sees=[pictures]", "algo.batch_size=8", "algo.residual_every=4",
)  # fmt: skip


def source(seed: int = 0) -> Batches:
    algo = make_config(*WORDS).algo
    assert isinstance(algo, AlgoConfig)
    ring = Ring(64, 3, 8, cameras=SIZES)
    ring.add("a", camera_experience())
    return Batches(algo, ring, None, seed=seed, device="cpu")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_batches_are_those_of_the_source_and_have_pictures() -> None:
    plain, ahead = source(), Prefetched(source())
    for _ in range(5):
        expected = plain.next()
        assert same(ahead.next(), expected)
        assert expected["pictures"].shape == expected["next_pictures"].shape == (8, 6, 16, 32)


def test_another_process_draws_the_batch_that_was_ahead() -> None:
    first, plain = Prefetched(source()), source()
    state = first.state()
    for _ in range(3):
        first.next()
        plain.next()
    second = Prefetched(source(seed=1))
    second.next()
    second.load_state(first.state())
    assert same(second.next(), plain.next())
    first.load_state(state)
    assert same(first.next(), source().next())


@pytest.mark.parametrize("later", [0, 2])
def test_the_batch_that_is_asked_about_is_the_one_that_was_learned_from(later: int) -> None:
    ahead = Prefetched(source())
    learned = [ahead.next() for _ in range(4)]
    drawn = ahead.drawn(later)
    wanted = learned[-1 - later]
    np.testing.assert_array_equal(drawn.transitions.observation.numpy(), wanted["observation"].numpy())


def test_the_share_of_waiting_is_a_share() -> None:
    ahead = Prefetched(source())
    ahead.next()
    figures = ahead.figures()
    assert 0 < figures["batch_waiting_share"] <= 1 and "return_earned" in figures


def test_what_ends_a_draw_ends_the_update_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = source()
    ahead = Prefetched(batches)
    ahead.next()
    ahead.drawn(0)  # the one ahead is there

    def fails() -> dict[str, torch.Tensor]:
        raise RuntimeError("no memory")

    monkeypatch.setattr(batches, "next", fails)
    ahead.next()
    with pytest.raises(RuntimeError, match="no memory"):
        ahead.next()
