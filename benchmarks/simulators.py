"""Frames a second of CPU simulators (one minute).

ours: `make_environment` as an actor calls it. peer: ManiSkill's way on a CPU, gymnasium's AsyncVectorEnv with
a process for each sub-environment. ceiling: our processes doing the steps of PhysX alone, of an arm at rest.
Random pushes that last, sides in turns. Beside the rates, processor time a frame, which other work on the
machine changes less.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import psutil
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from actor.simulators.make import make_environment
from actor.simulators.maniskill import make_simulator
from actor.simulators.processes import shares
from benchmarks.command import make_parser, print_result
from config.compose import compose_config
from config.task import TaskConfig

ROUNDS = 5
ROUND_S = 3.0
KEYS = {
    "sub_envs": "sub-environments of each side",
    "processes": "of ours and of the ceiling",
    "*_frames_per_s": "of ours, peer, ceiling; medians over the rounds",
    "*_processor_ms_per_frame": "of ours, peer, ceiling: processor time of all processes of the benchmark",
    "ratio": "frames a second of ours / of peer",
    "ceiling_ratio": "frames a second of ours / of the ceiling",
    "processor_ratio": "processor time a frame of peer / of ours",
}


class PlainMaker:
    """ManiSkill's own simulator for one sub-environment."""

    def __init__(self, task: TaskConfig) -> None:
        self._task = task

    def __call__(self) -> gymnasium.Env:
        from mani_skill.utils.wrappers import CPUGymWrapper

        torch.set_num_threads(1)
        return CPUGymWrapper(make_simulator(self._task, "physx_cpu", 1))


class Physics(gymnasium.Env):
    """Steps of PhysX in as many scenes as one process of ours has, and nothing else."""

    def __init__(self, task: TaskConfig, scenes: int) -> None:
        self._envs = [make_simulator(task, "physx_cpu", 1) for _ in range(scenes)]
        for env in self._envs:
            env.reset(seed=0)
        self.observation_space = self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, **_: object) -> tuple[np.ndarray, dict]:
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        for env in self._envs:
            simulator: Any = env.unwrapped
            for _ in range(simulator._sim_steps_per_control):
                simulator.scene.step()
        return np.zeros(1, np.float32), 0.0, False, False, {}


class PhysicsMaker:
    """Makes `Physics` in its worker."""

    def __init__(self, task: TaskConfig, scenes: int) -> None:
        self._arguments = (task, scenes)

    def __call__(self) -> gymnasium.Env:
        return Physics(*self._arguments)


def processor_s() -> float:
    """Of this process and everybody below it."""
    everybody = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in everybody)


def pushes(shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
    """Actions of `shape` in [-1, 1], each held for eight frames."""
    generator, count = np.random.default_rng(0), 0
    held = np.zeros(shape, np.float32)

    def choose() -> np.ndarray:
        nonlocal held, count
        if count % 8 == 0:
            held = np.clip(generator.normal(size=shape), -1, 1).astype(np.float32)
        count += 1
        return held

    return choose


def play(step: Callable[[np.ndarray], object], choose: Callable[[], np.ndarray]) -> tuple[float, float]:
    """Steps a second, and seconds of processor time a step, of one round."""
    began, busy, steps = time.perf_counter(), processor_s(), 0
    while time.perf_counter() - began < ROUND_S:
        step(choose())
        steps += 1
    return steps / (time.perf_counter() - began), (processor_s() - busy) / steps


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.simulators", __doc__, KEYS)
    parser.add_argument("sub_envs", nargs="?", type=int, default=12, help="12 by default")
    num_envs: int = parser.parse_args(argv).sub_envs
    task = compose_config([]).task
    bundles = shares(num_envs, None)
    asynchronous: dict[str, Any] = dict(context="forkserver", autoreset_mode=AutoresetMode.SAME_STEP)
    ours = make_environment(task, "physx_cpu", num_envs, 0)
    peer = AsyncVectorEnv([PlainMaker(task)] * num_envs, **asynchronous)
    physics = AsyncVectorEnv([PhysicsMaker(task, len(bundle)) for bundle in bundles], **asynchronous)
    for envs in (ours, peer, physics):
        envs.reset(seed=0)
    sides = {
        "ours": (lambda a: ours.step(torch.from_numpy(a)), pushes((num_envs, ours.action_dim))),
        "peer": (peer.step, pushes(peer.action_space.shape or ())),
        "ceiling": (physics.step, pushes((len(bundles), 1))),
    }
    rounds = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, (step, choose) in sides.items():
            rounds[name].append(play(step, choose))
    rates = {name: num_envs * statistics.median(rate for rate, _ in seen) for name, seen in rounds.items()}
    costs = {
        name: statistics.median(cost for _, cost in seen) / num_envs * 1e3 for name, seen in rounds.items()
    }
    result: dict[str, object] = {"sub_envs": num_envs, "processes": len(bundles)}
    result |= {f"{name}_frames_per_s": round(rate) for name, rate in rates.items()}
    result |= {f"{name}_processor_ms_per_frame": round(cost, 3) for name, cost in costs.items()}
    result |= {
        "ratio": round(rates["ours"] / rates["peer"], 2),
        "ceiling_ratio": round(rates["ours"] / rates["ceiling"], 2),
        "processor_ratio": round(costs["peer"] / costs["ours"], 2),
    }
    for envs in (ours, peer, physics):
        envs.close()
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
