"""Native sampling equals torch's U-Net under diffusers' scheduler, and is only an option."""

from typing import get_args

import pytest
import torch

from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.ddim import PredictionType
from actor.policy.diffusion.native import NativeSampler
from actor.policy.native import unet
from tests.support.diffusion import base_keys, small_agent


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize(
    ("unet_dims", "pred_horizon"),
    [((64, 128, 256), 16), ((32, 64), 8), ((24, 40, 56), 8), ((16,), 5)],
)
def test_native_plans_equal_diffusers(
    prediction_type: str, unet_dims: tuple[int, ...], pred_horizon: int
) -> None:
    agent = small_agent(
        obs_dim=11, act_dim=7, n_groups=8, unet_dims=unet_dims, pred_horizon=pred_horizon,
        prediction_type=prediction_type,
    )  # fmt: skip
    plain = DiffusionBase(agent, act_horizon=4, inference_steps=4)
    fast = DiffusionBase(agent, act_horizon=4, inference_steps=4, native=True)
    assert isinstance(fast._sample, NativeSampler)
    for rows in (1, 7, 16, 37):
        history, keys = 3 * torch.randn(rows, 2, 11), base_keys(rows)
        torch.testing.assert_close(fast.plan(history, keys), plain.plan(history, keys), atol=1e-5, rtol=0)


def test_native_plans_of_the_shipped_base_equal_diffusers(repository) -> None:
    agent = load_agent(repository / "bases" / "PickCube-v1")
    plain, fast = (DiffusionBase(agent, 4, 4, native=native) for native in (False, True))
    for frame in range(3):
        keys = base_keys(20, frame)
        history = agent.obs_center + agent.obs_half_range * (2 * torch.rand(20, 2, 42) - 1)
        torch.testing.assert_close(fast.plan(history, keys), plain.plan(history, keys), atol=1e-5, rtol=0)


def test_without_a_compiler_the_same_base_plans_with_torch_and_says_so(monkeypatch, caplog) -> None:
    unet.library.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    agent = small_agent()
    base = DiffusionBase(agent, 4, 4, native=True)
    assert "no C++ compiler" in caplog.text
    history, keys = torch.randn(3, 2, 5), base_keys(3)
    assert torch.equal(base.plan(history, keys), DiffusionBase(agent, 4, 4).plan(history, keys))


def test_a_compiler_that_fails_is_no_reason_to_stop(monkeypatch, tmp_path, caplog) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho no such standard >&2\nexit 1\n")
    compiler.chmod(0o755)
    unet.library.cache_clear()
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    DiffusionBase(small_agent(), 4, 4, native=True)
    assert "no such standard" in caplog.text


@pytest.fixture(autouse=True)
def _forget_the_library():
    yield
    unet.library.cache_clear()
