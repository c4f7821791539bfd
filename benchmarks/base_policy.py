"""Base plans a second on a CPU: python -m benchmarks.base_policy (two minutes, one thread).

ours: `DiffusionBase.plan` as an actor calls it. peer: the plain way, the same network run eagerly under
diffusers' DDIM scheduler, twice a decision (for the observation and for the next). ceiling: the bare
network compiled by torch.compile for exactly this batch size, as often as there are steps.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from actor.policy.diffusion import DiffusionAgent, DiffusionBase, load_agent, make_scheduler

BATCHES = (16, 64, 256)
STEPS = 4
SECONDS = 3.0  # a side and batch size


def plain_way(agent: DiffusionAgent, history: Tensor) -> Callable[[], None]:
    """Two eager DDIM runs, for this observation and the next."""
    scheduler = make_scheduler(agent.spec.prediction_type)
    scheduler.set_timesteps(STEPS)
    shape = (len(history), agent.spec.pred_horizon, agent.spec.act_dim)

    def run() -> None:
        for _ in range(2):
            sample = torch.randn(shape)
            for step in scheduler.timesteps:
                prediction = agent.predict(sample, step, history)
                sample = scheduler.step(prediction, step, sample).prev_sample  # type: ignore[arg-type]
            agent.unscale_action(sample)

    return run


def bare_network(agent: DiffusionAgent, history: Tensor) -> Callable[[], None]:
    """Compiled forward passes alone: no sampler, no noise, no scaling."""
    sample = torch.randn(len(history), agent.spec.pred_horizon, agent.spec.act_dim)
    step, condition = torch.full((len(history),), 50), history.flatten(1)
    network = torch.compile(agent.noise_pred_net, dynamic=False)

    def run() -> None:
        for _ in range(STEPS):
            network(sample, step, condition)

    return run


def seconds_a_call(sides: list[Callable[[], object]]) -> list[float]:
    """Median of each side, in turns, so that a busy moment of the machine hits all of them."""
    spent: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()
    until = time.perf_counter() + SECONDS * len(sides)
    while time.perf_counter() < until:
        for side, times in zip(sides, spent, strict=True):
            began = time.perf_counter()
            side()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in spent]


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = len(BATCHES)  # type: ignore[attr-defined]
    agent = load_agent(Path("bases/PickCube-v1"))
    base = DiffusionBase(agent, act_horizon=4, inference_steps=STEPS, native=True)
    result: dict[str, object] = {"threads": 1, "inference_steps": STEPS}
    for rows in BATCHES:
        history = agent.obs_center + agent.obs_half_range * (2 * torch.rand(rows, 2, agent.spec.obs_dim) - 1)
        sides = [lambda h=history: base.plan(h), plain_way(agent, history), bare_network(agent, history)]
        ours, peer, ceiling = (rows / seconds for seconds in seconds_a_call(sides))
        result[f"sub_envs_{rows}"] = {
            "ours_plans_per_s": round(ours),
            "peer_plans_per_s": round(peer),
            "ratio": round(ours / peer, 2),
            "ceiling_plans_per_s": round(ceiling),
            "ceiling_ratio": round(ours / ceiling, 2),
        }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
