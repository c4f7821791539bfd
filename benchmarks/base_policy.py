"""Base plans a second (two minutes; one thread on a CPU).

ours: `DiffusionBase.plan` as an actor calls it, in native code on a CPU, as CUDA graphs on a GPU. peer: the
plain way, the same network run eagerly under diffusers' DDIM scheduler, twice a decision (for the observation
and for the next). ceiling: the bare network compiled by torch.compile for exactly this batch size (on a GPU
with the CUDA graphs of its mode "reduce-overhead"), as often as there are steps.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from actor.policy.device import DeviceError, require_device
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.ddim import TRAIN_STEPS
from actor.policy.diffusion.network import DiffusionAgent
from actor.policy.noise import Use, keys_at
from benchmarks.command import make_parser, print_result

BATCHES = (16, 64, 256)
STEPS = 4
SECONDS = 3.0  # a side and batch size
KEYS = {
    "device": "of all sides",
    "threads": "of torch on a CPU",
    "inference_steps": "of the sampler",
    "sub_envs_*": "for a batch of as many: ours_plans_per_s, peer_plans_per_s, ceiling_plans_per_s; "
    "ratio and ceiling_ratio are those of ours to the others",
}


def plain_way(agent: DiffusionAgent, history: Tensor) -> Callable[[], None]:
    """Two eager DDIM runs, for this observation and the next."""
    scheduler = DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type=agent.spec.prediction_type,
    )
    scheduler.set_timesteps(STEPS)
    shape = (len(history), agent.spec.pred_horizon, agent.spec.act_dim)

    def run() -> None:
        for _ in range(2):
            sample = torch.randn(shape, device=history.device)
            for step in scheduler.timesteps:
                prediction = agent.predict(sample, step, history)
                sample = scheduler.step(prediction, int(step), sample, return_dict=False)[0]
            agent.unscale_action(sample)

    return run


def bare_network(agent: DiffusionAgent, history: Tensor) -> Callable[[], None]:
    """Compiled forward passes alone: no sampler, no noise, no scaling."""
    device = history.device
    sample = torch.randn(len(history), agent.spec.pred_horizon, agent.spec.act_dim, device=device)
    step, condition = torch.full((len(history),), 50, device=device), history.flatten(1)
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    network = torch.compile(agent.noise_pred_net, dynamic=False, mode=mode)

    def run() -> None:
        for _ in range(STEPS):
            network(sample, step, condition)

    return run


def seconds_a_call(sides: list[Callable[[], object]], finish: Callable[[], None]) -> list[float]:
    """Median of each side, in turns, so that a busy moment of the machine hits all of them.

    Args:
        finish: waits until the device has done what it was asked for.
    """
    spent: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()
    finish()
    until = time.perf_counter() + SECONDS * len(sides)
    while time.perf_counter() < until:
        for side, times in zip(sides, spent, strict=True):
            began = time.perf_counter()
            side()
            finish()
            times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in spent]


def parse_device(argv: list[str]) -> torch.device:
    """What the command line asks for; ends the process with one line where there is none."""
    parser = make_parser("benchmarks.base_policy", __doc__, KEYS)
    parser.add_argument("device", nargs="?", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    name = parser.parse_args(argv).device
    try:
        require_device("device", name)
    except DeviceError as error:
        parser.error(str(error))
    return torch.device(name)


@torch.no_grad()
def main(argv: list[str]) -> None:
    device = parse_device(argv)
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    torch.set_num_threads(1)
    setattr(torch._dynamo.config, "recompile_limit", len(BATCHES))  # noqa: B010  # its stub lacks it
    agent = load_agent(Path("bases/PickCube-v1"))
    base = DiffusionBase(agent, 4, STEPS, device=str(device), native=True, cuda_graph=True)
    result: dict[str, object] = {"device": str(device), "threads": 1, "inference_steps": STEPS}
    for rows in BATCHES:
        spread = 2 * torch.rand(rows, 2, agent.spec.obs_dim, device=device) - 1
        history = agent.obs_center + agent.obs_half_range * spread
        keys = keys_at(range(rows), 0, Use.BASE)
        sides = [partial(base.plan, history, keys), plain_way(agent, history), bare_network(agent, history)]
        ours, peer, ceiling = (rows / seconds for seconds in seconds_a_call(sides, finish))
        result[f"sub_envs_{rows}"] = {
            "ours_plans_per_s": round(ours),
            "peer_plans_per_s": round(peer),
            "ratio": round(ours / peer, 2),
            "ceiling_plans_per_s": round(ceiling),
            "ceiling_ratio": round(ours / ceiling, 2),
        }
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
