"""What a network of a residual sees: state, the robot's part of it, or the base's features."""

import pytest
import torch

from actor.policy.relations import Relations
from actor.policy.residual import ResidualActor
from actor.policy.sight import Sight, Sizes
from config.section import ConfigError
from tests.support.helpers import make_config

ROW = torch.arange(16.0).view(2, 8)
"""Observations of 6 dimensions with 2 features behind each."""
SIZES = Sizes(6, 2)


def sight(*words: str, proprioception: str = "[[1, 3], [5, 6]]", relations: str = "[]") -> Sight:
    algo = make_config(f"algo.proprioception={proprioception}", f"algo.relations={relations}").algo
    return Sight(words, algo, SIZES)


def test_each_word_is_its_part_of_a_row_in_the_order_of_the_words() -> None:
    picked = {"state": ROW[:, :6], "proprioception": ROW[:, [1, 2, 5]], "features": ROW[:, 6:]}
    for words in (["state"], ["proprioception"], ["features"], ["features", "proprioception"]):
        made = sight(*words)
        assert torch.equal(made(ROW), torch.cat([picked[word] for word in words], dim=1))
        assert made.dim == sum(picked[word].shape[1] for word in words)


def test_relations_belong_to_the_state_alone() -> None:
    one = "[{point: 0, tip: null, origin: 3, turned: false}]"
    related = make_config(f"algo.relations={one}").algo.relations
    assert torch.equal(sight("state", relations=one)(ROW), Relations(related, 6)(ROW[:, :6]))
    assert sight("proprioception", relations=one).dim == 3


def test_what_it_does_not_see_does_not_move_a_residual() -> None:
    algo = make_config(
        "algo.sees=[proprioception,features]", "algo.proprioception=[[1, 3]]", "algo.last_layer_gain=1",
        "algo.residual_every=4",
    ).algo  # fmt: skip
    actor, plan = ResidualActor(algo, 6, 2, 2), torch.zeros(2, 8)
    before = actor.mode(actor.sight(ROW), plan)
    for dim in range(8):
        moved = ROW.clone()
        moved[:, dim] += 1
        changed = not torch.equal(actor.mode(actor.sight(moved), plan), before)
        assert changed == (dim in (1, 2, 6, 7))


def test_what_is_not_there_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"task\.proprioception.* has \[5, 9\), .* dimension is 6"):
        sight("proprioception", proprioception="[[5, 9]]")
    with pytest.raises(ConfigError, match="this base has none"):
        Sight(["features"], make_config().algo, Sizes(6, 0))
