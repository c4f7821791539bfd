"""Plans of a behaviour transformer, beside the published formulas written out."""

import pytest
import torch

from actor.policy.behaviour_transformer.base import BehaviourTransformerBase
from actor.policy.behaviour_transformer.checkpoint import load_transformer
from actor.policy.behaviour_transformer.dropout import kept_numbers
from actor.policy.features import FeaturedBase
from actor.policy.noise import uniform
from actor.policy.trainable import TrainableBase
from tests.support.behaviour_transformer import TOKEN, save_transformer, written_out
from tests.support.diffusion import base_keys

SIZES = [{}, {"context_window": 1}, {"n_layers": 3, "n_clusters": 1, "n_heads": 4}]
PUBLISHED = dict(context_window=20, n_clusters=8, n_layers=4, n_heads=4, n_embedding=128)


def loaded(folder, dropout=0.0, **sizes) -> BehaviourTransformerBase:
    save_transformer(folder, **sizes)
    return BehaviourTransformerBase(load_transformer(folder), dropout, "cpu")


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_without_dropout_an_action_is_that_of_the_published_formulas(tmp_path, sizes):
    _, weights = save_transformer(tmp_path, **sizes)
    base = BehaviourTransformerBase(load_transformer(tmp_path), 0.0, "cpu")
    history = torch.randn(9, base.obs_horizon, 5)
    plan, features = base.plan_with_features(history, base_keys(9))
    assert plan.shape == (9, 1, 3) and features.shape == (9, TOKEN)
    heads = sizes.get("n_heads", 2)
    for row in range(9):
        action, token = written_out(weights, history[row], heads)
        torch.testing.assert_close(plan[row, 0], action, atol=1e-5, rtol=0)
        torch.testing.assert_close(features[row], token, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_dropout_is_where_the_published_network_has_it_and_of_the_rows_key_alone(tmp_path, sizes):
    _, weights = save_transformer(tmp_path, **sizes)
    base = BehaviourTransformerBase(load_transformer(tmp_path), 0.25, "cpu")
    history, keys = torch.randn(9, base.obs_horizon, 5), base_keys(9, frame=3)
    plan = base.plan(history, keys)
    for row in range(9):
        drawn = iter(torch.from_numpy(uniform(keys[row : row + 1], 10_000))[0])

        def dropped(values: torch.Tensor, drawn=drawn) -> torch.Tensor:
            kept = torch.stack([next(drawn) for _ in range(values.numel())]) >= 0.25
            return values * kept.view_as(values) / 0.75

        action, _ = written_out(weights, history[row], sizes.get("n_heads", 2), dropped)
        torch.testing.assert_close(plan[row, 0], action, atol=1e-5, rtol=0)


def test_the_share_that_is_dropped_is_the_one_that_is_asked_for():
    kept = kept_numbers(base_keys(50), 2000, rate=0.1)
    assert kept.shape == (50, 2000) and kept.float().mean() == pytest.approx(0.9, abs=0.003)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [{}, PUBLISHED], ids=["small", "published"])
def test_a_plan_and_its_features_are_the_same_to_the_bit_alone_and_in_any_batch(tmp_path, dropout, sizes):
    base = loaded(tmp_path, dropout, **sizes)
    keys, history = base_keys(40), torch.randn(40, base.obs_horizon, 5)
    together = base.plan_with_features(history, keys)
    for some in ([0], [39, 3, 17], list(range(12)), list(range(5, 38))):
        alone = base.plan_with_features(history[some], keys[some])
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one, all_[some])
    assert torch.equal(base.plan(history, keys), together[0])
    assert torch.equal(base.features(history), together[1])
    again = base.plan(history, base_keys(40, frame=4))
    assert torch.equal(again, together[0]) == (dropout == 0)


def test_it_has_features_and_no_weights_to_train(tmp_path):
    base = loaded(tmp_path)
    assert isinstance(base, FeaturedBase) and base.features_dim == TOKEN
    assert not isinstance(base, TrainableBase)


def test_what_decides_its_actions_decides_its_fingerprint(tmp_path):
    """The weights, and what they do not show."""
    found = {loaded(tmp_path / "0").fingerprint, loaded(tmp_path / "1", dropout=0.1).fingerprint}
    found |= {loaded(tmp_path / "2", n_heads=4).fingerprint, loaded(tmp_path / "3", n_layers=1).fingerprint}
    assert len(found) == 4
    assert loaded(tmp_path / "4").fingerprint in found
