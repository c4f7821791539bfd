"""Windows, schedules and loss of a base's training."""

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from actor.policy.diffusion.network import DiffusionAgent
from learner.base_training.denoising import denoising_loss, ema_decay, learning_rate_factor
from learner.base_training.windows import make_windows
from tests.support.diffusion import small_spec


def test_windows_repeat_the_front_and_end_in_standing_still_with_the_last_grip():
    observations = np.arange(7, dtype=np.float32)[:, None].repeat(2, 1)
    actions = np.arange(1, 7, dtype=np.float32)[:, None].repeat(3, 1)
    data = make_windows([(observations, actions)], obs_horizon=2, pred_horizon=4)
    # Published: starts in range(-(obs_h - 1), L - pred_h + (pred_h - obs_h)) = -1 .. L - obs_h - 1.
    assert len(data.history) == 6 - 2 + 1
    assert data.history[0, :, 0].tolist() == [0, 0]
    assert data.actions[0, :, 0].tolist() == [1, 1, 2, 3]
    assert data.history[-1, :, 0].tolist() == [3, 4]
    assert data.actions[-1, :, 0].tolist() == [4, 5, 6, 0]
    assert data.actions[-1, :, 2].tolist() == [4, 5, 6, 6]


def test_training_schedules_match_the_published_formulas():
    assert ema_decay(0, 0.9999) == pytest.approx(0.1)
    assert ema_decay(10**9, 0.9999) == 0.9999
    assert learning_rate_factor(249, 500, 1000) == pytest.approx(0.5)
    assert learning_rate_factor(500, 500, 1500) == 1.0
    assert learning_rate_factor(1000, 500, 1500) == pytest.approx(0.5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
def test_a_perfect_prediction_has_no_loss(prediction_type):
    agent = DiffusionAgent(small_spec(prediction_type=prediction_type))
    actions, noise = torch.rand(4, 8, 3), torch.randn(4, 8, 3)
    agent.predict = lambda noisy, steps, history: noise if prediction_type == "epsilon" else actions
    steps, alpha = torch.tensor([0, 5, 50, 99]), torch.linspace(1, 0, 100)
    assert denoising_loss(agent, alpha, torch.zeros(4, 2, 5), actions, noise, steps).item() == 0.0


def test_noise_is_added_as_diffusers_adds_it():
    agent, seen = DiffusionAgent(small_spec()), []
    agent.predict = lambda noisy, steps, history: seen.append(noisy) or noisy
    actions, noise, steps = torch.rand(4, 8, 3), torch.randn(4, 8, 3), torch.tensor([0, 5, 50, 99])
    schedule = DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", clip_sample=True)
    denoising_loss(agent, schedule.alphas_cumprod, torch.zeros(4, 2, 5), actions, noise, steps)
    torch.testing.assert_close(seen[0], schedule.add_noise(actions, noise, steps))
