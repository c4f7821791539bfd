"""Success of PPO on PickCube beside ManiSkill's own PPO script, after the same frames (minutes a seed).

ours: a run of algo=ppo from nothing, with actors and learner in processes of their own.
peer: ManiSkill's examples/baselines/ppo/ppo.py, as it is, in our simulators in place of its GPU one. Get the
file from ManiSkill's repository, of a release 3; it is not part of the package.

Both see the same task with its normalised dense reward, in episodes that success does not end, and learn with
the script's discount, trace and width of layers, on batches of about the same size. Both are then played
without noise over the same seeds; an episode succeeds by its last frame.
"""

import argparse
import os
import runpy
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
import torch
from torch import Tensor

from actor.evaluation import UnderWay
from actor.simulators.contract import VectorEnvironment
from actor.simulators.make import make_environment
from benchmarks.command import make_parser, print_result
from benchmarks.on_policy import run_of
from config.compose import compose_config
from config.main import Config
from config.process import UsageError
from config.task import TaskConfig
from launch.run.folder import MetricsReader

KEYS = {
    "frames": "that each side learned from",
    "seeds": "training seeds",
    "ours": "success of our runs, in percent, mean",
    "peer": "success of ManiSkill's script, in percent, mean",
    "ratio": "ours / peer",
    "ours_of_seed": "of each training seed",
    "peer_of_seed": "of each training seed",
    "ours_s": "seconds of training, of each training seed",
    "peer_s": "seconds of training, of each training seed",
    "ours_losses": "of our last training seed in the end; the value's is in deviations of the returns",
    "peer_losses": "of the script's last training seed in the end; the value's is in returns",
}
# The script's defaults, where ours differ.
WORDS = (
    "task=pick_cube", "task.control_mode=pd_ee_delta_pos", "task.reward_mode=normalized_dense",
    "task.success_ends=false", "base=zero", "algo=ppo",
    "task.max_episode_steps=50", "algo.gamma=0.8", "algo.trace=0.9", "algo.hidden=[256,256,256]",
    "algo.epochs=4", "algo.stop_at_kl=0.1",
    "learner.demos=null", "tracking=[]", "learner.stop_at=null", "learner.evaluation.videos=0",
    "learner.evaluation.every_s=100000",
)  # fmt: skip
ENVS, STEPS = 12, 170
"""Of the script: about as many decisions a batch as config/algo/ppo.yaml says."""
_BOARD = "torch.utils.tensorboard"


class AsTheirs:
    """One of our vector environments with the face that the script expects of ManiSkill's."""

    def __init__(self, envs: VectorEnvironment) -> None:
        self._envs, self._returns, self._env = envs, torch.zeros(envs.num_envs), self
        box = lambda low, high, width: gymnasium.spaces.Box(low, high, (width,), np.float32)  # noqa: E731
        self.single_observation_space = box(-np.inf, np.inf, envs.observation_dim)
        self.single_action_space = self.action_space = box(-1, 1, envs.action_dim)

    def reset(self, seed: int | None = None) -> tuple[Tensor, dict[str, Any]]:
        return self._envs.reset(seed), {}

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        step = self._envs.step(action)
        self._returns += step.reward
        infos: dict[str, Any] = {}
        if step.ended.any():
            episode = {"success_at_end": step.success, "return": self._returns.clone()}
            infos = {
                "final_info": {"episode": episode},
                "_final_info": step.ended,
                "final_observation": step.final_observation,
            }
            self._returns[step.ended] = 0
        return step.observation, step.reward, step.terminated, step.truncated, infos

    def close(self) -> None:
        self._envs.close()


class Scalars:
    """In place of a writer for TensorBoard: the newest value of each name."""

    def __init__(self, *_: object) -> None:
        self.newest: dict[str, float] = {}

    def add_text(self, *_: object) -> None: ...

    def add_scalar(self, name: str, value: Any, _: int) -> None:
        self.newest[name] = float(value)

    def close(self) -> None: ...


@contextmanager
def in_our_simulators(task: TaskConfig, seed: int) -> Iterator[None]:
    """What the script imports is ours while this is open. Simulator processes begin before it runs: they
    would import the script otherwise."""
    from mani_skill.utils import gym_utils
    from mani_skill.vector.wrappers import gymnasium as theirs

    board = types.ModuleType(_BOARD)
    board.SummaryWriter = Scalars  # pyright: ignore[reportAttributeAccessIssue]
    # Not by patch.dict, which would also take away what is imported meanwhile.
    before, sys.modules[_BOARD] = sys.modules.get(_BOARD), board
    made = {
        ENVS: make_environment(task, "physx_cpu", ENVS, seed, 2),
        1: make_environment(task, "physx_cpu", 1, seed),
    }
    with (
        patch.object(gymnasium, "make", lambda _, num_envs, **__: AsTheirs(made[num_envs])),
        patch.object(theirs, "ManiSkillVectorEnv", lambda envs, *_, **__: envs),
        patch.object(gym_utils, "find_max_episode_steps_value", lambda _: task.max_episode_steps),
    ):
        try:
            yield
        finally:
            del sys.modules[_BOARD]
            if before is not None:
                sys.modules[_BOARD] = before


def train_peer(script: Path, config: Config, seed: int, folder: Path) -> tuple[Any, dict[str, float], float]:
    """The script's agent, its last losses and its seconds. It writes into `folder`."""
    words = [
        f"--seed={seed}", f"--total-timesteps={config.learner.total_frames}", f"--num-envs={ENVS}",
        f"--num-steps={STEPS}", "--num-eval-envs=1", "--num-eval-steps=1", "--eval-freq=1000000",
        "--no-capture-video", "--no-save-model", "--no-cuda", "--exp-name=peer",
    ]  # fmt: skip
    here = Path.cwd()
    os.chdir(folder)
    try:
        with in_our_simulators(config.task, 10_000 * seed), patch.object(sys, "argv", ["ppo.py", *words]):
            started = time.monotonic()
            left = runpy.run_path(str(script), run_name="__main__")
    finally:
        os.chdir(here)
    seconds = time.monotonic() - started
    newest = left["writer"].newest
    losses = {name: round(newest[f"losses/{name}"], 4) for name in ("policy_loss", "value_loss")}
    return left["agent"], losses, seconds


def success_of_peer(agent: Any, config: Config) -> float:
    """Percent of the evaluation's episodes."""
    settings, successes = config.learner.evaluation, list[bool]()
    envs = make_environment(config.task, "physx_cpu", settings.num_envs, settings.first_seed)
    try:
        observation = envs.reset(settings.first_seed)
        under_way = UnderWay(settings.first_seed, observation)
        while len(successes) < settings.episodes:
            with torch.no_grad():
                step = envs.step(agent.get_action(observation, deterministic=True).clamp(-1, 1))
            observation = step.observation
            ended = under_way.step(step)
            successes += [
                each.success for each in ended if each.seed < settings.first_seed + settings.episodes
            ]
    finally:
        envs.close()
    return 100 * mean(successes)


def play(words: list[str], folder: Path) -> tuple[float, dict[str, float], float]:
    """Success of our run in percent, its last losses and its seconds. Raises RuntimeError: it failed."""
    points = MetricsReader(run_of(words, folder).run_dir).read()
    success = next(each["success_full"] for each in reversed(points) if "success_full" in each)
    trained = [each for each in points if each.get("batches", 0) >= 1]
    losses = {
        name: round(trained[-1][name], 4) for name in ("loss/actor", "loss/value") if name in trained[-1]
    }
    return 100 * success, losses, trained[-1]["t_s"] - points[0]["t_s"]


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.maniskill_ppo", __doc__, KEYS)
    parser.add_argument(
        "--script", type=Path, required=True, help="ManiSkill's examples/baselines/ppo/ppo.py"
    )
    parser.add_argument("--frames", type=int, default=300_000, help="of each side; %(default)s by default")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds; 0 1 2 by default"
    )
    parser.add_argument("--episodes", type=int, default=100, help="of an evaluation; %(default)s by default")
    parser.add_argument("--first-seed", type=int, default=2_000_000, help="of them; %(default)s by default")
    parser.add_argument("overrides", nargs="*", help="of our run: key=value")
    print_result(measure(parser.parse_args(argv)), KEYS)


def measure(args: argparse.Namespace) -> dict[str, object]:
    """What the last line says. Raises UsageError: no script."""
    if not args.script.is_file():
        raise UsageError(f"--script: no file {args.script}")
    words = [
        *WORDS, f"learner.total_frames={args.frames}", f"learner.evaluation.episodes={args.episodes}",
        f"learner.evaluation.first_seed={args.first_seed}", *args.overrides,
    ]  # fmt: skip
    ours, peers = list[Any](), list[Any]()
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            ours.append(play([*words, f"seed={seed}"], Path(folder)))
            config = compose_config(words)
            agent, losses, seconds = train_peer(args.script.resolve(), config, seed, Path(folder))
        peers.append((success_of_peer(agent, config), losses, seconds))
        sys.stderr.write(f"training seed {seed}: ours {ours[-1]}, peer {peers[-1]}\n")
    mine, theirs = mean(each[0] for each in ours), mean(each[0] for each in peers)
    return {
        "frames": args.frames,
        "seeds": args.seeds,
        "ours": round(mine, 1),
        "peer": round(theirs, 1),
        "ratio": round(mine / theirs, 2) if theirs else None,
        "ours_of_seed": [round(each[0]) for each in ours],
        "peer_of_seed": [round(each[0]) for each in peers],
        "ours_s": [round(each[2]) for each in ours],
        "peer_s": [round(each[2]) for each in peers],
        "ours_losses": ours[-1][1],
        "peer_losses": peers[-1][1],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
