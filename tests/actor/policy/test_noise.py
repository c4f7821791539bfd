"""Random numbers of episodes: where they come from, and that they are random."""

import math

import numpy as np
import torch

from actor.policy.noise import EpisodeSeeds, Use, keys_at, normal, uniform

EPISODES = np.arange(20_000)


def share_below(z: float) -> float:
    """Of a normal distribution."""
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def test_numbers_depend_on_their_key_alone() -> None:
    keys = keys_at(EPISODES[:50], 3, Use.BASE)
    for draw in (uniform, normal):
        together = draw(keys, 57)
        for row in (0, 17, 49):
            assert np.array_equal(draw(keys[row : row + 1], 57)[0], together[row])
        some = [33, 2, 41]
        assert np.array_equal(draw(keys[some], 20), together[some, :20])


def test_numbers_are_those_of_splitmix64() -> None:
    """Of seed 1234567, from https://prng.di.unimi.it/splitmix64.c."""
    from actor.policy.noise import _bits

    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert _bits(np.array([1234567], np.uint64), 4)[0].tolist() == expected


def test_uniform_numbers_are_uniform() -> None:
    drawn = uniform(keys_at(EPISODES, 0, Use.MASK), 50)
    assert drawn.min() >= 0 and drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=100, range=(0, 1))
    # Chi-square of 99 degrees of freedom: mean 99, deviation 14.
    expected = drawn.size / 100
    assert abs(((counts - expected) ** 2 / expected).sum() - 99) < 5 * 14


def test_normal_numbers_are_normal() -> None:
    drawn = normal(keys_at(EPISODES, 0, Use.BASE), 56).astype(np.float64)
    n = drawn.size
    assert abs(drawn.mean()) < 4 / n**0.5
    assert abs((drawn**2).mean() - 1) < 4 * (2 / n) ** 0.5
    assert abs((drawn**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((drawn**4).mean() - 3) < 4 * (96 / n) ** 0.5
    largest = max(abs((drawn < z).mean() - share_below(z)) for z in np.linspace(-4, 4, 81))
    assert largest < 1.95 / n**0.5  # Kolmogorov and Smirnov, one in a thousand
    assert 4.5 < abs(drawn).max() < 6.8


def test_numbers_of_neighbours_are_uncorrelated() -> None:
    """Of the next sub-environment, the next frame, another use, the next actor, the next number."""
    own = normal(keys_at(EPISODES, 4, Use.BASE), 20)
    others = [
        normal(keys_at(EPISODES + 1, 4, Use.BASE), 20),
        normal(keys_at(EPISODES, 5, Use.BASE), 20),
        normal(keys_at(EPISODES, 4, Use.NOISE), 20),
        normal(keys_at(EPISODES + 10_000_000, 4, Use.BASE), 20),
        np.roll(own, 1, axis=1),
    ]
    for other in others:
        assert abs((own * other).mean()) < 4 / own.size**0.5
        assert abs((np.abs(own) * np.abs(other)).mean() - 2 / math.pi) < 4 * (1 - 2 / math.pi) / own.size**0.5
        assert not (own == other).any(axis=1).any()


def test_sub_environments_play_every_seed_once_in_turn() -> None:
    """As the simulators do: sub-environment i the seeds first + i, first + i + N, ..."""
    episodes = EpisodeSeeds(100, 3)
    rows = torch.arange(3)

    def at(seeds: list[int], frames: list[int]) -> bool:
        return np.array_equal(episodes.keys(rows, Use.NOISE), keys_at(seeds, frames, Use.NOISE))

    assert at([100, 101, 102], [0, 0, 0])
    episodes.step()
    episodes.begin(torch.tensor([1]))
    assert at([100, 104, 102], [1, 0, 1])
    episodes.step()
    episodes.begin(torch.tensor([1, 2]))
    assert at([100, 107, 105], [2, 0, 0])
    episodes.restart()
    assert at([100, 101, 102], [0, 0, 0])
