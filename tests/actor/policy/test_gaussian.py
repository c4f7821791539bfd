"""The Gaussian policy of PPO and GRPO."""

import math

import pytest
import torch

from actor.policy.gaussian import Drawn, GaussianResidual
from config.on_policy import OnPolicyConfig
from tests.support.helpers import make_config


def network(*words: str) -> GaussianResidual:
    algo = make_config("algo=ppo", *words).algo
    assert isinstance(algo, OnPolicyConfig)
    torch.manual_seed(0)
    return GaussianResidual(algo, 3, 2)


@pytest.mark.parametrize("shape", ["chunk", "constant"])
@pytest.mark.parametrize("dims", ["null", "[1]", "[1,0]"])
def test_what_was_drawn_has_the_probability_that_was_said(shape: str, dims: str) -> None:
    policy = network(f"algo.residual_shape={shape}", f"algo.residual_dims={dims}", "algo.last_layer_gain=1")
    seen = torch.randn(5, 3), torch.randn(5, 8)
    with torch.no_grad():
        drawn = policy.sample(*seen)
        assert torch.allclose(policy.log_prob(*seen, drawn.residual), drawn.log_prob, atol=1e-5)
        assert torch.equal(policy.spread(policy.gathered(drawn.residual)), drawn.residual)


def test_the_most_likely_residual_is_the_mean_and_is_not_squashed() -> None:
    policy = network("algo.last_layer_gain=5", "algo.initial_std=0.5")
    seen = torch.randn(64, 3), torch.randn(64, 8)
    with torch.no_grad():
        best = policy.mode(*seen)
        assert best.abs().max() > 1
        # Eight outputs with density 1 / (0.5 sqrt(2 pi)) at their means.
        expected = -8 * (math.log(0.5) + 0.5 * math.log(2 * math.pi))
        assert policy.log_prob(*seen, best).tolist() == pytest.approx([expected] * 64, abs=1e-4)


def test_the_gradients_of_what_was_drawn_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn, start, weights = (torch.randn(*size, generator=generator) for size in ((6, 3), (6, 3), (6,)))
    mean, log_std = start.requires_grad_(), torch.tensor([-1.0, 0.0, 0.5], requires_grad=True)
    normal = torch.distributions.Normal(mean, log_std.exp())
    expected = torch.autograd.grad((weights * normal.log_prob(drawn).sum(-1)).sum(), [mean, log_std])
    with torch.no_grad():
        found = Drawn(drawn, mean, log_std).gradients(weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
