"""Shift and scale of observations: from the prior data, and the same wherever the weights go."""

import numpy as np
import pytest
import torch

from actor.policy.residual import ResidualActor
from learner.algorithms.observation_scale import ObservationScale
from learner.algorithms.residual_sac import ResidualSAC
from tests.support.helpers import make_config


def test_mean_and_scale_match_hand_computed_numbers():
    scale = ObservationScale.of(np.array([[1.0, 10.0], [3.0, 10.0], [8.0, 13.0]], np.float32))
    assert scale.mean.tolist() == [4.0, 11.0]
    # Squares about 4: 9 + 1 + 16, about 11: 1 + 1 + 4; over two degrees of freedom.
    np.testing.assert_allclose(scale.scale, [1 / np.sqrt(13), 1 / np.sqrt(3)])


def test_the_scale_travels_with_the_weights_and_hardly_moving_numbers_are_not_blown_up():
    config = make_config("algo.residual_every=4", "algo.last_layer_gain=1")
    algorithm = ResidualSAC(config.algo, 2, 2, seed=0, device="cpu")
    algorithm.scale_observations(torch.tensor([[0.0, 1.0], [4.0, 1.002]]))
    for network in (algorithm.actor, algorithm.critic, algorithm.target_critic):
        np.testing.assert_allclose(network.observation_mean, [2.0, 1.001], rtol=1e-6)
        np.testing.assert_allclose(network.observation_scale, [1 / np.sqrt(8), 10.0], rtol=1e-6)
    actor = ResidualActor(config.algo, 2, 2)
    actor.load_state_dict(algorithm.actor.state_dict(), strict=True)
    observation, plan = torch.randn(3, 2), torch.zeros(3, 8)
    assert torch.equal(actor.mode(observation, plan), algorithm.actor.mode(observation, plan))


def batch_of(observation: list[list[float]]) -> dict[str, torch.Tensor]:
    rows = torch.tensor(observation)
    plan = torch.zeros(len(rows), 8)
    alike = {"base_plan": plan, "next_base_plan": plan, "residual": plan, "next_observation": rows}
    return {"observation": rows, "reward": torch.zeros(len(rows)), "discount": torch.ones(len(rows))} | alike


def test_without_prior_data_the_first_batch_says_how_and_later_ones_do_not():
    config = make_config("algo.residual_every=4", "algo.observation_noise=0")
    algorithm = ResidualSAC(config.algo, 2, 2, seed=0, device="cpu")
    algorithm.update(batch_of([[0.0, 1.0], [4.0, 1.002]]))
    saved = algorithm.state()
    algorithm.update(batch_of([[10.0, 50.0], [20.0, 60.0]]))
    resumed = ResidualSAC(config.algo, 2, 2, seed=1, device="cpu")
    resumed.load_state(saved)
    resumed.update(batch_of([[10.0, 50.0], [20.0, 60.0]]))
    for made in (algorithm, resumed):
        for network in (made.actor, made.critic, made.target_critic):
            np.testing.assert_allclose(network.observation_mean, [2.0, 1.001], rtol=1e-6)
            np.testing.assert_allclose(network.observation_scale, [1 / np.sqrt(8), 10.0], rtol=1e-6)


@pytest.mark.parametrize("said_by", ["off", "prior data", "an earlier release"])
def test_the_first_batch_says_nothing_where_something_else_did(said_by: str):
    words = ["algo.scale_observations=off"] if said_by == "off" else []
    algorithm = ResidualSAC(make_config("algo.residual_every=4", *words).algo, 2, 2, seed=0, device="cpu")
    if said_by == "prior data":
        algorithm.scale_observations(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    if said_by == "an earlier release":
        state = algorithm.state()
        del state["scaled"]
        algorithm.load_state(state)
    before = algorithm.actor.observation_mean.clone(), algorithm.actor.observation_scale.clone()
    algorithm.update(batch_of([[10.0, 50.0], [20.0, 60.0]]))
    assert torch.equal(algorithm.actor.observation_mean, before[0])
    assert torch.equal(algorithm.actor.observation_scale, before[1])
