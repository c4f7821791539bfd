"""The U-Net and its sampler."""

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.ddim import DDIM, PredictionType
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from tests.support.diffusion import base_keys, small_agent, starting_noise

PUBLISHED = DiffusionSpec(
    env_id="PegInsertionSide-v1", control_mode="pd_ee_delta_pose", obs_dim=43, act_dim=7, obs_horizon=2,
    pred_horizon=16, diffusion_step_embed_dim=64, unet_dims=(64, 128, 256), n_groups=8,
)  # fmt: skip


def test_published_sizes_give_the_published_number_of_parameters_and_names():
    agent = DiffusionAgent(PUBLISHED)
    assert sum(p.numel() for p in agent.parameters()) == pytest.approx(4.40e6, rel=0.01)
    names = set(agent.state_dict())
    for name in (
        "noise_pred_net.mid_modules.0.blocks.0.block.0.weight",
        "noise_pred_net.down_modules.0.0.residual_conv.weight",
        "noise_pred_net.down_modules.1.2.conv.weight",
        "noise_pred_net.up_modules.1.1.cond_encoder.1.bias",
        "noise_pred_net.diffusion_step_encoder.3.weight",
        "noise_pred_net.final_conv.1.weight",
    ):
        assert name in names


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize("inference_steps", [1, 4, 7, 100])
def test_a_step_of_the_sampler_equals_that_of_diffusers_to_the_bit(prediction_type, inference_steps):
    scheduler = DDIMScheduler(
        num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type
    )
    scheduler.set_timesteps(inference_steps)
    ddim = DDIM(prediction_type, inference_steps)
    assert ddim.steps == scheduler.timesteps.tolist()
    for step in ddim.steps:
        prediction, sample = torch.randn(3, 4), torch.randn(3, 4)
        expected = scheduler.step(prediction, step, sample).prev_sample
        assert torch.equal(ddim.next_sample(prediction, step, sample), expected)


def test_processes_that_act_import_neither_diffusers_nor_the_compiler_of_torch():
    code = "import sys, actor.loop; print(*({'diffusers', 'torch._dynamo'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "\n")


def test_plans_equal_diffusers_ddim_over_the_published_steps():
    agent = small_agent()
    base = DiffusionBase(agent, act_horizon=4, inference_steps=4)
    history = torch.randn(3, 2, 5)
    scheduler = DDIMScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        prediction_type="epsilon",
    )
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [75, 50, 25, 0]
    sample = starting_noise(base_keys(3), agent.spec)
    with torch.no_grad():
        for step in scheduler.timesteps:
            noise = agent.noise_pred_net(sample, step, history.flatten(1))
            sample = scheduler.step(noise, step, sample).prev_sample
    torch.testing.assert_close(base.plan(history, base_keys(3)), sample[:, 1:5], atol=1e-5, rtol=0)


def written_out(weights, sample, step, condition, groups):
    """The published U-Net, two levels, from its weights alone: no module of ours."""

    def get(name):
        return weights[f"noise_pred_net.{name}"]

    def linear(name, x):
        return x @ get(f"{name}.weight").T + get(f"{name}.bias")

    def mish(x):
        return x * torch.tanh(torch.log1p(torch.exp(x)))

    def conv(name, x, padding, stride=1):
        return F.conv1d(x, get(f"{name}.weight"), get(f"{name}.bias"), stride=stride, padding=padding)

    def conv_block(name, x):
        x = conv(f"{name}.block.0", x, 2)
        rows, channels, frames = x.shape
        grouped = x.reshape(rows, groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        normed = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
        gain, bias = get(f"{name}.block.1.weight"), get(f"{name}.block.1.bias")
        return mish(normed.reshape(rows, channels, frames) * gain[:, None] + bias[:, None])

    def block(name, x):
        film = linear(f"{name}.cond_encoder.1", mish(features))
        scale, bias = film[:, : film.shape[1] // 2, None], film[:, film.shape[1] // 2 :, None]
        out = conv_block(f"{name}.blocks.1", scale * conv_block(f"{name}.blocks.0", x) + bias)
        wider = f"noise_pred_net.{name}.residual_conv.weight" in weights
        return out + (conv(f"{name}.residual_conv", x, 0) if wider else x)

    half = get("diffusion_step_encoder.1.weight").shape[1] // 2
    angle = step * torch.exp(-torch.arange(half) * np.log(10000) / (half - 1))
    embedded = torch.cat([angle.sin(), angle.cos()]).float()[None]
    embedded = linear("diffusion_step_encoder.3", mish(linear("diffusion_step_encoder.1", embedded)))
    features = torch.cat([embedded.expand(len(sample), -1), condition], dim=1)

    fine = block("down_modules.0.1", block("down_modules.0.0", sample.transpose(1, 2)))
    coarse = conv("down_modules.0.2.conv", fine, padding=1, stride=2)
    coarse = block("down_modules.1.1", block("down_modules.1.0", coarse))
    middle = block("mid_modules.1", block("mid_modules.0", coarse))
    up = block("up_modules.0.1", block("up_modules.0.0", torch.cat([middle, coarse], dim=1)))
    name = "up_modules.0.2.conv"
    up = F.conv_transpose1d(up, get(f"{name}.weight"), get(f"{name}.bias"), stride=2, padding=1)
    return conv("final_conv.1", conv_block("final_conv.0", up), 0).transpose(1, 2)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_network_and_sampler_equal_a_written_out_pass_under_diffusers_scheduler(native, prediction_type):
    agent = small_agent(prediction_type=prediction_type)
    base = DiffusionBase(agent, act_horizon=4, inference_steps=4, native=native)
    history = torch.randn(3, 2, 5)
    scheduler = DDIMScheduler(
        num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", clip_sample=True,
        prediction_type=prediction_type,
    )  # fmt: skip
    scheduler.set_timesteps(4)
    sample = starting_noise(base_keys(3), agent.spec)
    for step in scheduler.timesteps:
        predicted = written_out(agent.state_dict(), sample, step, history.flatten(1), groups=4)
        torch.testing.assert_close(agent.predict(sample, step, history), predicted, atol=1e-5, rtol=0)
        sample = scheduler.step(predicted, step, sample).prev_sample
    torch.testing.assert_close(base.plan(history, base_keys(3)), sample[:, 1:5], atol=1e-5, rtol=0)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("obs_horizon", [1, 2])
def test_a_plan_is_the_same_to_the_bit_alone_and_in_any_batch(native, obs_horizon):
    agent = small_agent(obs_horizon=obs_horizon)
    base = DiffusionBase(agent, act_horizon=4, inference_steps=4, native=native)
    keys, history = base_keys(40), torch.randn(40, obs_horizon, 5)
    together = base.plan(history, keys)
    for some in ([0], [39, 3, 17], list(range(12)), list(range(5, 38))):
        assert torch.equal(base.plan(history[some], keys[some]), together[some])
    assert not torch.equal(base.plan(history, base_keys(40, frame=4)), together)


def test_a_plan_longer_than_the_prediction_is_refused():
    with pytest.raises(CheckpointError, match="act_horizon=8 needs 9"):
        DiffusionBase(small_agent(), act_horizon=8, inference_steps=4)
