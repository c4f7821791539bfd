"""Small runs with a base and a residual of random weights, and episodes to play them on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from actor.policy.checkpoint_file import read_checkpoint, write_safetensors
from actor.policy.contract import BasePolicy
from actor.policy.decorated import EvaluatedPolicy
from actor.policy.diffusion.checkpoint import save_agent
from actor.policy.make import make_base
from actor.policy.residual import ResidualActor
from config.compose import compose_config, write_config
from config.main import Config
from protocol.messages import BASE_ALONE
from tests.support.diffusion import small_agent

OBSERVATION, ACTION = 20, 4
TASK = (
    f"task.sizes=[{OBSERVATION},{ACTION}]",
    "learner.robot_state_dim=8",
    "learner.evaluation.first_seed=700",
)
RELATIONS = (
    "algo.relations=[{point: 3, tip: null, origin: 0, turned: false}, "
    "{point: 6, tip: 19, origin: 12, turned: true}]"
)


def diffusion_base(folder: Path, **changes: object) -> Path:
    """A small base's folder."""
    agent = small_agent(**{"obs_dim": OBSERVATION, "act_dim": ACTION} | changes)
    if agent.spec.normalize:
        agent.obs_half_range += torch.rand(agent.spec.obs_dim)
        agent.action_center += 0.1 * torch.rand(ACTION)
    save_agent(folder, agent, agent, {})
    return folder


def shared_run(folder: Path, *words: str) -> Config:
    """A run's folder with a configuration and a best residual; `words` set its configuration."""
    config = compose_config([f"runs_dir={folder.parent}", f"name={folder.name}", *TASK, *words])
    folder.mkdir(parents=True)
    write_config(folder / "config.yaml", config)
    torch.manual_seed(1)
    assert config.algo.plays is not None
    features = 2 * OBSERVATION if config.algo.plays.needs_features else 0  # of `diffusion_base`
    residual = ResidualActor(config.algo.plays, OBSERVATION, ACTION, features)
    for parameter in residual.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    residual.observation_mean += 0.1
    residual.observation_scale *= 0.7
    content = {
        "version": 3, "updates": 40, "algo": msgspec.to_builtins(config.algo),
        "actor": residual.state_dict(), "success": 0.75, "episodes": 20,
    }  # fmt: skip
    (folder / "checkpoints").mkdir()
    write_safetensors(folder / "checkpoints" / "best.safetensors", content)
    return config


@dataclass(frozen=True)
class Frame:
    """Observations (N, O), which sub-environments begin an episode, and each one's seed and frame."""

    observation: Tensor
    begins: list[int]
    seeds: list[int]
    frames: list[int]


def frames(num_envs: int, count: int, first_seed: int) -> Iterator[Frame]:
    """Episodes of different lengths side by side."""
    generator = torch.Generator().manual_seed(0)
    seeds, at = [first_seed + i for i in range(num_envs)], [0] * num_envs
    begins = [*range(num_envs)]
    for _ in range(count):
        observation = torch.randn(num_envs, OBSERVATION, generator=generator)
        yield Frame(observation, begins, [*seeds], [*at])
        begins = [i for i in range(num_envs) if at[i] + 1 >= 5 + 3 * i]
        for i in range(num_envs):
            at[i] += 1
        for i in begins:
            at[i], seeds[i] = 0, seeds[i] + num_envs


def ours(
    config: Config, run: Path, num_envs: int, base: BasePolicy | None = None
) -> Callable[[Frame], Tensor]:
    """This project's policy of a run: a frame's observations -> actions."""
    base = base or make_base(config.base, config.task, "cpu")
    first = config.learner.evaluation.first_seed
    policy = EvaluatedPolicy.of(config, base, num_envs=num_envs, first_seed=first)
    content = read_checkpoint(run / "checkpoints" / "best.safetensors")
    policy.adopt(content["version"], content["actor"], BASE_ALONE)
    begun: list[bool] = []

    def act(frame: Frame) -> Tensor:
        if begun:
            policy.observe(frame.observation)
        if frame.begins:
            fresh = torch.zeros(num_envs, dtype=torch.bool)
            fresh[frame.begins] = True
            policy.begin(frame.observation, fresh if begun else None)
        begun.append(True)
        return policy.act().action

    return act
