"""Plans by CUDA graphs equal eager ones; the code around the capture is tested without a GPU."""

import logging

import pytest
import torch

from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.graphed import Captured, GraphedSampler, capture_graph
from actor.policy.make import make_base
from actor.policy.tiles import padded
from tests.support.diffusion import base_keys, small_agent
from tests.support.helpers import make_config


class Recorder:
    """A capture that a processor can do: a replay runs the function again, into the same memory."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def __call__(self, run) -> Captured:
        self.captures += 1
        output = run()

        def replay() -> None:
            self.replays += 1
            output.copy_(run())

        return Captured(replay, output)


def agent_and_sampler(capture):
    base = DiffusionBase(small_agent(), act_horizon=4, inference_steps=4)
    return base._sample_with_torch, GraphedSampler(base._sample_with_torch, capture)


@torch.no_grad()
def test_replays_of_any_batch_size_equal_eager_plans():
    capture = Recorder()
    eager, graphed = agent_and_sampler(capture)
    for rows in (1, 16, 5, 37, 64, 33, 16):
        history, noise = torch.randn(rows, 2, 5), torch.randn(rows, 8, 3)
        torch.testing.assert_close(graphed(history, noise), eager(history, noise), atol=1e-5, rtol=0)
    assert (capture.captures, capture.replays) == (2, 7)  # 16 and 64


@torch.no_grad()
def test_a_plan_stays_what_it_was_when_the_next_one_is_replayed():
    _, graphed = agent_and_sampler(Recorder())
    first = graphed(torch.randn(3, 2, 5), torch.randn(3, 8, 3))
    kept = first.clone()
    graphed(torch.randn(7, 2, 5), torch.randn(7, 8, 3))
    assert torch.equal(first, kept)


@torch.no_grad()
def test_what_cannot_be_captured_runs_eagerly_and_one_line_says_so(caplog):
    attempts = []

    def fails(run) -> Captured:
        attempts.append(run)
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    eager, graphed = agent_and_sampler(fails)
    history, noise = torch.randn(3, 2, 5), torch.randn(3, 8, 3)
    for _ in range(3):
        assert torch.equal(graphed(history, noise), eager(history, noise))
    assert len(attempts) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "without CUDA graphs" in record.message
    assert "not permitted" in record.message
    assert "\n" not in record.message


@torch.no_grad()
@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_a_real_capture_without_a_gpu_is_an_eager_plan(caplog):
    eager, graphed = agent_and_sampler(capture_graph)
    history, noise = torch.randn(3, 2, 5), torch.randn(3, 8, 3)
    assert torch.equal(graphed(history, noise), eager(history, noise))
    assert "without CUDA graphs" in caplog.text


def test_only_a_gpu_and_a_wish_choose_graphs():
    base = DiffusionBase(small_agent(), act_horizon=4, inference_steps=4)

    def chosen(device: str, **wish: bool) -> bool:
        base.device = torch.device(device)
        return isinstance(base._choose_sampler(**wish), GraphedSampler)

    assert chosen("cuda:1", native=True, cuda_graph=True)
    assert not chosen("cuda", native=True, cuda_graph=False)
    assert not chosen("cpu", native=True, cuda_graph=True)
    assert not chosen("cpu", native=False, cuda_graph=True)


def test_sizes_are_powers_of_two_from_sixteen():
    assert [padded(rows) for rows in (1, 16, 17, 64, 65, 256, 4000)] == [16, 16, 32, 64, 128, 256, 4096]


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 16, 37, 256])
def test_graphs_on_a_gpu_equal_eager_plans_there(monkeypatch, caplog, repository, rows):
    # TF32 rounds to a thousandth, differently for each batch size's kernel.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    path = f"{repository}/bases/PickCube-v1"
    graphed, eager = (
        make_base(config.base, config.task, "cuda")
        for config in (
            make_config(f"base.path={path}", f"base.cuda_graph={wish}") for wish in ("true", "false")
        )
    )
    agent = load_agent(repository / "bases" / "PickCube-v1")
    for _ in range(3):
        history = agent.obs_center + agent.obs_half_range * (2 * torch.rand(rows, 2, 42) - 1)
        plans = (base.plan(history, base_keys(rows)) for base in (graphed, eager))
        torch.testing.assert_close(*plans, atol=1e-5, rtol=0)
    assert isinstance(graphed._sample, GraphedSampler)
    assert "without CUDA graphs" not in caplog.text
