"""Native sampling equals torch's U-Net under diffusers' scheduler, and is only an option."""

from __future__ import annotations

import pytest
import torch

from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.native import NativeSampler
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from actor.policy.native import unet


def spec_of(unet_dims: tuple[int, ...], pred_horizon: int, prediction_type: str) -> DiffusionSpec:
    return DiffusionSpec(
        env_id="PickCube-v1", control_mode="pd_ee_delta_pose", obs_dim=11, act_dim=7, obs_horizon=2,
        pred_horizon=pred_horizon, diffusion_step_embed_dim=16, unet_dims=unet_dims, n_groups=8,
        prediction_type=prediction_type,
    )  # fmt: skip


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
@pytest.mark.parametrize(
    ("unet_dims", "pred_horizon"),
    [((64, 128, 256), 16), ((32, 64), 8), ((24, 40, 56), 8), ((16,), 5)],
)
@pytest.mark.parametrize("rows", [1, 7, 16, 37])
def test_native_plans_equal_diffusers(
    prediction_type: str, unet_dims: tuple[int, ...], pred_horizon: int, rows: int
) -> None:
    torch.manual_seed(0)
    agent = DiffusionAgent(spec_of(unet_dims, pred_horizon, prediction_type))
    for parameter in agent.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    plain = DiffusionBase(agent, act_horizon=4, inference_steps=4, seed=5)
    fast = DiffusionBase(agent, act_horizon=4, inference_steps=4, seed=5, native=True)
    assert isinstance(fast._sample, NativeSampler)
    history = 3 * torch.randn(rows, 2, 11)
    torch.testing.assert_close(fast.plan(history), plain.plan(history), atol=1e-5, rtol=0)


def test_native_plans_of_the_shipped_base_equal_diffusers(repository) -> None:
    agent = load_agent(repository / "bases" / "PickCube-v1")
    plain, fast = (DiffusionBase(agent, 4, 4, seed=5, native=native) for native in (False, True))
    for _ in range(3):
        history = agent.obs_center + agent.obs_half_range * (2 * torch.rand(20, 2, 42) - 1)
        torch.testing.assert_close(fast.plan(history), plain.plan(history), atol=1e-5, rtol=0)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    agent = DiffusionAgent(spec_of((32, 64), 8, "sample"))
    fast = DiffusionBase(agent, 4, 4, native=True)
    history, noise = torch.randn(40, 2, 11), torch.randn(40, 8, 7)
    together = fast._sample(history, noise)
    alone = torch.cat([fast._sample(history[i : i + 1], noise[i : i + 1]) for i in range(40)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_without_a_compiler_the_same_base_plans_with_torch_and_says_so(monkeypatch, caplog) -> None:
    unet.library.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    agent = DiffusionAgent(spec_of((32, 64), 8, "epsilon"))
    base = DiffusionBase(agent, 4, 4, seed=1, native=True)
    assert "no C++ compiler" in caplog.text
    history = torch.randn(3, 2, 11)
    assert torch.equal(base.plan(history), DiffusionBase(agent, 4, 4, seed=1).plan(history))


def test_a_compiler_that_fails_is_no_reason_to_stop(monkeypatch, tmp_path, caplog) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho no such standard >&2\nexit 1\n")
    compiler.chmod(0o755)
    unet.library.cache_clear()
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    DiffusionBase(DiffusionAgent(spec_of((32, 64), 8, "epsilon")), 4, 4, native=True)
    assert "no such standard" in caplog.text


@pytest.fixture(autouse=True)
def _forget_the_library():
    yield
    unet.library.cache_clear()
