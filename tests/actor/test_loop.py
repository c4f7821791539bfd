"""Which episodes an actor plays."""

from __future__ import annotations

from actor.loop import first_seed
from tests.support.helpers import make_config


def test_actors_and_runs_begin_with_seeds_of_their_own() -> None:
    words = [(f"actor.index={index}", f"seed={seed}") for index in range(2) for seed in range(3)]
    assert len({first_seed(make_config(*each), 0) for each in words}) == len(words)
    assert 0 <= first_seed(make_config(f"seed={2**63 - 1}"), 5) < 2**31


def test_an_actor_that_is_started_again_begins_behind_the_episodes_it_can_have_played() -> None:
    config = make_config()
    assert first_seed(config, 1000) == first_seed(config, 0) + 1000
