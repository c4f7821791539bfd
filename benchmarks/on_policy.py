"""Frames a second of PPO from simulator to new weights and back (some minutes).

ours: a run of algo=ppo, with two actors and a learner in processes of their own, journal and dataset.
peer: stable-baselines3's PPO with SubprocVecEnv in the same simulators, with the same network, batches and
epochs. Of several numbers of sub-environments, the fastest of each side counts. Sides in turns; the first
batch of each does not count.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium

from actor.simulators.adapters import simulator_of
from benchmarks.command import make_parser, print_result
from config.compose import compose_config
from config.main import Config
from config.on_policy import PpoConfig
from config.process import StopRequest, UsageError
from launch.run.folder import MetricsReader
from launch.run.launcher import make_commands, write_launch_file
from launch.run.processes import Team
from launch.run.supervisor import supervise
from launch.study.study import free_ports
from learner.folder import make_run_dir

KEYS = {
    "task": "that was played",
    "rounds": "of both sides",
    "ours": "frames/s of the run with its best number of sub-environments, median",
    "ours_envs": "that number, of each of the two actors",
    "peer": "frames/s of stable-baselines3 with its best number of sub-environments, median",
    "peer_envs": "that number",
    "ratio": "ours / peer",
}
# No trackers, films or early end, and the evaluator asks for nothing before the end.
WORDS = (
    "algo=ppo", "base=zero", "learner.demos=null", "tracking=[]", "learner.stop_at=null",
    "learner.log_every_s=0.5", "learner.evaluation.videos=0", "learner.evaluation.episodes=1",
    "learner.evaluation.every_s=100000",
    "actor.nice=0",
)  # fmt: skip


def run_of(words: list[str], folder: Path) -> Config:
    """A whole run in `folder`, without its page. Raises RuntimeError: it failed."""
    ports = free_ports()
    where = [f"runs_dir={folder}", f"wire.experience_port={ports[0]}", f"wire.weights_port={ports[1]}"]
    config = compose_config(["name=run", *words, *where])
    make_run_dir(config)
    commands, lines = make_commands(config, write_launch_file(config)), list[str]()
    points = MetricsReader(config.run_dir)
    code = supervise(
        [each for each in commands if each.role != "page"],
        Team(config.run_dir / "logs", lambda name, line: lines.append(f"{name} | {line}")),
        StopRequest(),
        may_evaluate=lambda: any(point.get("frames") for point in points.read()),
    )
    if code:
        raise RuntimeError("\n".join(lines[-20:]))
    return config


def play(words: list[str], folder: Path) -> float:
    """Frames/s of a run, from the first batch to the last. Raises RuntimeError: it failed."""
    trained = [
        each for each in MetricsReader(run_of(words, folder).run_dir).read() if each.get("batches", 0) >= 1
    ]
    first, last = trained[0], next(each for each in trained if each["frames"] == trained[-1]["frames"])
    return (last["frames"] - first["frames"]) / (last["t_s"] - first["t_s"])


def peer_maker(config: Config, seed: int, stride: int) -> Callable[[], gymnasium.Env]:
    """Makes one of our simulators in a worker."""
    return lambda: simulator_of(config.task).single_environment(config.task, seed, stride)


def play_peer(config: Config, algo: PpoConfig, envs: int, frames: int) -> float:
    """Frames/s of stable-baselines3, without its first batch. Raises UsageError: it is not here."""
    try:
        import stable_baselines3  # pyright: ignore[reportMissingImports]  # a peer, not a dependency
        import torch
        from stable_baselines3.common.callbacks import (  # pyright: ignore[reportMissingImports]
            BaseCallback,
        )
        from stable_baselines3.common.vec_env import SubprocVecEnv  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(f"the peer is stable-baselines3 ({error}): pip install stable-baselines3") from error

    class Clock(BaseCallback):
        """When the second batch began."""

        started_s, batches, frames = 0.0, 0, 0

        def _on_rollout_start(self) -> None:
            self.batches += 1
            if self.batches == 2:
                self.started_s, self.frames = time.monotonic(), self.num_timesteps

        def _on_step(self) -> bool:
            return True

    torch.set_num_threads(1)
    made: Any = SubprocVecEnv([peer_maker(config, 1 + i, envs) for i in range(envs)], start_method="fork")
    network = {"net_arch": list(algo.hidden), "activation_fn": torch.nn.ReLU}
    ppo = stable_baselines3.PPO(
        "MlpPolicy", made, n_steps=algo.batch_decisions // envs, batch_size=algo.minibatch_size,
        n_epochs=algo.epochs, learning_rate=algo.lr, gamma=algo.gamma, gae_lambda=algo.trace,
        policy_kwargs=network, device="cpu", target_kl=algo.stop_at_kl,
    )  # fmt: skip
    clock = Clock()
    try:
        ppo.learn(frames, callback=clock)
        return (ppo.num_timesteps - clock.frames) / (time.monotonic() - clock.started_s)
    finally:
        made.close()


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.on_policy", __doc__, KEYS)
    parser.add_argument("--task", default="pendulum", help="%(default)s by default")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s by default")
    parser.add_argument("--frames", type=int, default=40_000, help="of each side; %(default)s by default")
    parser.add_argument("--envs", type=int, nargs="+", default=[6, 16], help="of each actor; 6 and 16")
    parser.add_argument("--peer-envs", type=int, nargs="+", default=[2, 8, 16], help="2, 8 and 16")
    parser.add_argument("overrides", nargs="*", help="of our run: key=value")
    print_result(measure(parser.parse_args(argv)), KEYS)


def measure(args: argparse.Namespace) -> dict[str, object]:
    """What the last line says."""
    dense = ["task.reward_mode=own"] if args.task == "pendulum" else []
    words = [*WORDS, f"task={args.task}", f"learner.total_frames={args.frames}", *dense, *args.overrides]
    config = compose_config(words)
    if not isinstance(config.algo, PpoConfig):
        raise UsageError(f"algo={config.algo.name}: this measures ppo")
    ours, peers = ({envs: list[float]() for envs in tried} for tried in (args.envs, args.peer_envs))
    for _ in range(args.rounds):
        for envs, rates in peers.items():
            rates.append(play_peer(config, config.algo, envs, args.frames))
        for envs, rates in ours.items():
            with tempfile.TemporaryDirectory() as folder:
                rates.append(play([*words, f"actor.num_envs={envs}"], Path(folder)))
        print(f"ours {ours}, peer {peers}", file=sys.stderr)  # noqa: T201
    (our_envs, our_rate), (peer_envs, peer_rate) = fastest(ours), fastest(peers)
    return {
        "task": args.task,
        "rounds": args.rounds,
        "ours": round(our_rate),
        "ours_envs": our_envs,
        "peer": round(peer_rate),
        "peer_envs": peer_envs,
        "ratio": round(our_rate / peer_rate, 2),
    }


def fastest(rates: dict[int, list[float]]) -> tuple[int, float]:
    """The number of sub-environments with the largest median, and that median."""
    medians = {envs: statistics.median(each) for envs, each in rates.items()}
    best = max(medians, key=lambda envs: medians[envs])
    return best, medians[best]


if __name__ == "__main__":
    main(sys.argv[1:])
