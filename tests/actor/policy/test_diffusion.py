"""The U-Net, its sampler, and the published checkpoint layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent, save_agent
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from actor.policy.make import check_base_fits, make_base
from learner.base_training.trainer import denoising_loss, ema_decay, learning_rate_factor
from learner.base_training.windows import make_windows
from tests.support.helpers import make_config

PUBLISHED = DiffusionSpec(
    env_id="PegInsertionSide-v1", control_mode="pd_ee_delta_pose", obs_dim=43, act_dim=7, obs_horizon=2,
    pred_horizon=16, diffusion_step_embed_dim=64, unet_dims=(64, 128, 256), n_groups=8,
)  # fmt: skip


def small_spec(**changes):
    settings = dict(
        env_id="PickCube-v1", control_mode="pd_ee_delta_pose", obs_dim=5, act_dim=3, obs_horizon=2,
        pred_horizon=8, diffusion_step_embed_dim=16, unet_dims=(16, 32), n_groups=4,
    )  # fmt: skip
    return DiffusionSpec(**(settings | changes))


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    agent, ema = DiffusionAgent(small_spec()), DiffusionAgent(small_spec())
    save_agent(tmp_path, agent, ema, {"iterations": 3})
    return tmp_path, agent, ema


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


def test_plans_equal_diffusers_ddim_over_the_published_steps():
    torch.manual_seed(0)
    agent = DiffusionAgent(small_spec())
    base = DiffusionBase(agent, act_horizon=4, inference_steps=4, seed=5)
    history = torch.randn(3, 2, 5)
    scheduler = DDIMScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        prediction_type="epsilon",
    )
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [75, 50, 25, 0]
    sample = torch.randn((3, 8, 3), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        for step in scheduler.timesteps:
            noise = agent.noise_pred_net(sample, step, history.flatten(1))
            sample = scheduler.step(noise, step, sample).prev_sample
    torch.testing.assert_close(base.plan(history), sample[:, 1:5], atol=1e-5, rtol=0)


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
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
def test_network_and_sampler_equal_a_written_out_pass_under_diffusers_scheduler(native, prediction_type):
    torch.manual_seed(1)
    agent = DiffusionAgent(small_spec(prediction_type=prediction_type))
    for parameter in agent.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    base = DiffusionBase(agent, act_horizon=4, inference_steps=4, seed=5, native=native)
    history = torch.randn(3, 2, 5)
    scheduler = DDIMScheduler(
        num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", clip_sample=True,
        prediction_type=prediction_type,
    )  # fmt: skip
    scheduler.set_timesteps(4)
    sample = torch.randn((3, 8, 3), generator=torch.Generator().manual_seed(5))
    for step in scheduler.timesteps:
        predicted = written_out(agent.state_dict(), sample, step, history.flatten(1), groups=4)
        torch.testing.assert_close(agent.predict(sample, step, history), predicted, atol=1e-5, rtol=0)
        sample = scheduler.step(predicted, step, sample).prev_sample
    torch.testing.assert_close(base.plan(history), sample[:, 1:5], atol=1e-5, rtol=0)


def test_a_checkpoint_survives_its_folder_and_ema_comes_first(checkpoint):
    folder, _, ema = checkpoint
    loaded = load_agent(folder)
    assert loaded.spec == small_spec()
    for name, value in ema.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_without_ema_the_plain_agent_is_loaded(checkpoint):
    folder, agent, _ = checkpoint
    torch.save({"agent": agent.state_dict()}, folder / "checkpoints" / "best.pt")
    loaded = load_agent(folder)
    assert torch.equal(
        loaded.state_dict()["noise_pred_net.final_conv.1.bias"],
        agent.state_dict()["noise_pred_net.final_conv.1.bias"],
    )


def spoil(folder, kind):
    weights = folder / "checkpoints" / "best.pt"
    if kind == "no folder":
        (folder / "args.json").unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "not a checkpoint":
        weights.write_bytes(b"\x00" * 100)
    elif kind == "missing keys":
        content = torch.load(weights, weights_only=True)
        del content["ema_agent"]["noise_pred_net.final_conv.0.block.0.weight"]
        torch.save(content, weights)
    elif kind == "other sizes":
        arguments = json.loads((folder / "args.json").read_text())
        (folder / "args.json").write_text(json.dumps(arguments | {"unet_dims": [16, 64]}))
    elif kind == "no agent":
        torch.save({"model": {}}, weights)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no folder", "args.json is missing"),
        ("no weights", "best.pt is missing"),
        ("not a checkpoint", "not a readable checkpoint"),
        ("missing keys", "do not fit its args.json"),
        ("other sizes", "do not fit its args.json"),
        ("no agent", "neither 'ema_agent' nor 'agent'"),
    ],
)
def test_a_wrong_checkpoint_is_one_clear_error(checkpoint, kind, says):
    folder = checkpoint[0]
    spoil(folder, kind)
    with pytest.raises(CheckpointError, match=says):
        load_agent(folder)


def test_a_base_for_another_task_is_refused_naming_both_sides(checkpoint):
    config = make_config(f"base.path={checkpoint[0]}", "task.control_mode=pd_joint_delta_pos")
    with pytest.raises(CheckpointError, match="pd_ee_delta_pose.*pd_joint_delta_pos"):
        make_base(config.base, config.task, "cpu", 0)
    config = make_config(f"base.path={checkpoint[0]}")
    with pytest.raises(CheckpointError, match="5 observation numbers.*the task has 42"):
        make_base(config.base, config.task, "cpu", 0)


def test_a_base_of_another_task_of_the_same_sizes_is_a_warning_naming_both(tmp_path, caplog):
    for env_id, agent_id in (("PushCube-v1", "PushCube-v1"), ("PullCube-v1", "PushCube-v1")):
        agent = DiffusionAgent(small_spec(env_id=agent_id, obs_dim=35, act_dim=7))
        save_agent(tmp_path, agent, agent, {})
        assert not caplog.records
        config = make_config(f"base.path={tmp_path}", f"task.env_id={env_id}")
        make_base(config.base, config.task, "cpu", 0)
    assert "was trained on PushCube-v1, the task is PullCube-v1" in caplog.text


def test_a_task_that_no_table_knows_is_taken_at_its_word_and_checked_again_at_the_simulator(checkpoint):
    arguments = checkpoint[0] / "args.json"
    arguments.write_text(json.dumps(json.loads(arguments.read_text()) | {"control_mode": "mine"}))
    mine = (f"base.path={checkpoint[0]}", "task.env_id=Mine-v1", "task.control_mode=mine")
    config = make_config(*mine, "task.sizes=[9,3]")
    with pytest.raises(CheckpointError, match="5 observation numbers.*the task has 9 and 3"):
        make_base(config.base, config.task, "cpu", 0)
    config = make_config(*mine, "task.sizes=[5,3]")
    base = make_base(config.base, config.task, "cpu", 0)
    with pytest.raises(CheckpointError, match="5 observation numbers.*the task has 42"):
        check_base_fits(base, 42, 7, "here")


def pose_base(tmp_path, act_dim=7):
    """A checkpoint of ManiSkill2: seven observation numbers more than PegInsertionSide has here."""
    torch.manual_seed(0)
    agent = DiffusionAgent(small_spec(env_id="PegInsertionSide-v2", obs_dim=50, act_dim=act_dim))
    save_agent(tmp_path, agent, agent, {})
    return f"base.path={tmp_path}", agent


def test_a_checkpoint_of_maniskill2_sees_the_robots_base_pose_where_it_was(tmp_path):
    path, agent = pose_base(tmp_path)
    config = make_config(path, "base.pad_obs_to=50", "task.env_id=PegInsertionSide-v1")
    padded = make_base(config.base, config.task, "cpu", 5)
    assert (padded.observation_dim, padded.action_dim) == (43, 7)
    history = torch.randn(3, 2, 43)
    pose = torch.tensor([-0.615, 0, 0, 1, 0, 0, 0]).expand(3, 2, 7)
    as_trained = torch.cat([history[..., :18], pose, history[..., 18:]], dim=-1)
    plain = DiffusionBase(agent, act_horizon=4, inference_steps=4, seed=5)
    torch.testing.assert_close(padded.plan(history), plain.plan(as_trained), atol=1e-5, rtol=0)
    padded.reseed(5)
    assert padded.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "takes 50 observation numbers.*the task has 43 and 7.*base.pad_obs_to=50"),
        (["base.pad_obs_to=51"], "base.pad_obs_to=51, but base .* takes 50"),
        (["task.env_id=PickCube-v1"], "50 observation numbers.*the task has 42"),
        (["base.act_horizon=8"], "act_horizon=8 needs 9 predicted actions, this base predicts 8"),
        (["task.control_mode=pd_joint_pos"], "pd_joint_pos has actions outside"),
        (["task.control_mode=pd_ee_delta_pos"], "pd_ee_delta_pose.*pd_ee_delta_pos"),
    ],
)
def test_what_does_not_fit_is_refused_without_a_simulator(tmp_path, overrides, says):
    path, _ = pose_base(tmp_path)
    config = make_config(path, "task.env_id=PegInsertionSide-v1", "algo.residual_every=4", *overrides)
    with pytest.raises(CheckpointError, match=says):
        make_base(config.base, config.task, "cpu", 0)


def test_other_action_numbers_are_refused_without_a_simulator(tmp_path):
    path, _ = pose_base(tmp_path, act_dim=4)
    config = make_config(path, "base.pad_obs_to=50", "task.env_id=PegInsertionSide-v1")
    with pytest.raises(CheckpointError, match="gives 4 action numbers, the task has 43 and 7"):
        make_base(config.base, config.task, "cpu", 0)


def test_no_base_at_all_plans_zeros_of_the_tasks_sizes():
    config = make_config("base=zero", "task.env_id=StackCube-v1")
    base = make_base(config.base, config.task, "cpu", 0)
    assert (base.observation_dim, base.action_dim) == (48, 7)
    assert torch.equal(base.plan(torch.rand(3, 1, 48)), torch.zeros(3, 4, 7))
    config = make_config("base=zero", "task.env_id=Mine-v1", "task.sizes=[5,3]")
    base = make_base(config.base, config.task, "cpu", 0)
    assert (base.observation_dim, base.action_dim) == (5, 3)


def test_a_plan_longer_than_the_prediction_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="act_horizon=8 needs 9"):
        DiffusionBase(load_agent(checkpoint[0]), act_horizon=8, inference_steps=4)


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
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    agent, seen = DiffusionAgent(small_spec()), []
    agent.predict = lambda noisy, steps, history: seen.append(noisy) or noisy
    actions, noise, steps = torch.rand(4, 8, 3), torch.randn(4, 8, 3), torch.tensor([0, 5, 50, 99])
    schedule = DDPMScheduler(100, beta_schedule="squaredcos_cap_v2", clip_sample=True)
    denoising_loss(agent, schedule.alphas_cumprod, torch.zeros(4, 2, 5), actions, noise, steps)
    torch.testing.assert_close(seen[0], schedule.add_noise(actions, noise, steps))
