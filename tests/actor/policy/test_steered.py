"""A base whose noise is chosen: with a base that can be computed by hand, and with a diffusion policy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from actor.evaluation import evaluated_policy
from actor.policy.contract import CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys, Use, keys_at, normal
from actor.policy.residual import ResidualActor
from actor.policy.steered import EvaluatedSteeredPolicy, SteeredPolicy, require_steerable
from tests.support.behaviour import residual_acts
from tests.support.diffusion import base_keys, small_agent
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config, make_policy

CONFIG = make_config("algo=dsrl", "algo.residual_every=4")


class HalvingBase:
    """Plans are half of the noise that they start from, plus the newest observation's first number."""

    obs_horizon, act_horizon, observation_dim, action_dim = 1, 4, 3, 2
    fingerprint, cameras = "halving", ()

    def initial_noise(self, keys: Keys) -> Tensor:
        return torch.from_numpy(normal(keys, 8)).view(-1, 4, 2)

    def plan_from(self, history: Tensor, keys: Keys, noise: Tensor) -> Tensor:
        return noise / 2 + history[:, -1, :1, None]

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        return self.plan_from(history, keys, self.initial_noise(keys))


def noisy_actor() -> dict[str, Tensor]:
    """Weights of a network that chooses something."""
    torch.manual_seed(1)
    actor = ResidualActor(CONFIG.algo, 3, 2)
    torch.nn.init.normal_(actor.head.weight, std=0.3)
    return actor.state_dict()


def test_what_is_chosen_is_the_noise_and_nothing_is_added_to_the_plan() -> None:
    policy = make_policy(HalvingBase(), CONFIG, 5, 4, kind=EvaluatedSteeredPolicy)
    policy.adopt(1, noisy_actor(), residual_acts(0.0))
    observation = torch.randn(5, 3) / 10
    policy.begin(observation)
    actor = ResidualActor(CONFIG.algo, 3, 2)
    actor.load_state_dict(noisy_actor())
    best = actor.mode(observation, torch.zeros(5, 8)).view(5, 4, 2).detach()
    assert best.abs().max() > 0.05
    for frame in range(4):
        chosen = policy.act()
        # Of noise 1.5 w the plan has the half.
        expected = 0.75 * best[:, frame] + observation[:, :1]
        torch.testing.assert_close(chosen.action, expected.clamp(-1, 1))
        torch.testing.assert_close(chosen.residual, best)
        torch.testing.assert_close(chosen.base_plan, 0.75 * best + observation[:, :1, None])
        assert chosen.deciding.all() == (frame == 0)


def test_where_it_is_masked_a_row_has_the_base_s_own_noise() -> None:
    policy = make_policy(HalvingBase(), CONFIG, 400, 4, kind=SteeredPolicy)
    policy.adopt(1, noisy_actor(), residual_acts(0.25))
    policy.begin(torch.zeros(400, 3))
    chosen = policy.act()
    own = torch.from_numpy(normal(keys_at(range(400), 0, Use.BASE), 8)).view(400, 4, 2)
    masked = (chosen.residual - own / 1.5).abs().amax((1, 2)) < 1e-6
    assert abs(masked.float().mean() - 0.75) < 0.08
    np.testing.assert_allclose(chosen.base_plan[masked], own[masked] / 2, atol=1e-6)
    # Of a Gaussian some numbers are beyond what can be chosen: they are kept as they are.
    assert chosen.residual[masked].abs().max() > 1 >= chosen.residual[~masked].abs().max()


@pytest.mark.parametrize("native", [False, True])
def test_before_the_first_weights_it_is_the_base_to_the_bit(native: bool) -> None:
    base = DiffusionBase(small_agent(prediction_type="sample", normalize=True), 4, 4, native=native)
    policy = make_policy(base, CONFIG, 6, 4, kind=SteeredPolicy)
    observation = torch.randn(6, 5)
    policy.begin(observation)
    history = observation[:, None].repeat(1, 2, 1)
    plan = base.plan(history, base_keys(6))
    for frame in range(4):
        assert torch.equal(policy.act().action, plan[:, frame].clamp(-1, 1))
    other = base.plan_from(history, base_keys(6), base.initial_noise(base_keys(6)) + 0.5)
    assert (other - plan).abs().max() > 1e-3


def test_an_evaluation_chooses_the_noise_for_this_algorithm_alone() -> None:
    kinds = [
        type(evaluated_policy(make_config(*words), HalvingBase(), 2, plays)).__name__
        for words in (("algo=dsrl",), ("algo=policy_decorator",))
        for plays in ("full", "base")
    ]
    assert kinds == ["EvaluatedSteeredPolicy", "DecoratedPolicy", "EvaluatedPolicy", "DecoratedPolicy"]


def test_a_base_without_noise_is_refused() -> None:
    assert require_steerable(HalvingBase(), "mine") is not None
    with pytest.raises(CheckpointError, match=r"base mine takes no initial noise: choose base=diffusion"):
        require_steerable(CountingBase(), "mine")
