"""What a base policy is, and how one is made from the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from torch import Tensor

from actor.policy.diffusion import CheckpointError, DiffusionBase, load_agent
from config.schema import Base, Task


class BasePolicy(Protocol):
    """A frozen policy that plans `act_horizon` actions from the last `obs_horizon` observations."""

    obs_horizon: int
    act_horizon: int
    observation_dim: int
    action_dim: int
    fingerprint: str
    """Hash of the weights; learner and actors compare it."""

    def plan(self, history: Tensor) -> Tensor:
        """Plans (B, act_horizon, action_dim) for histories (B, obs_horizon, observation_dim)."""
        ...

    def reseed(self, seed: int) -> None:
        """Restart whatever randomness the plans have."""
        ...


def make_base(base: Base, task: Task, device: str, seed: int) -> BasePolicy:
    """The base of `config/base`.

    Raises:
        CheckpointError: it cannot be read, or was trained for another control mode.
    """
    if not Path(base.path).is_dir():
        raise CheckpointError(
            f"no folder {base.path} with a base for task.env_id={task.env_id}: check both names, "
            "or set base.path=<folder with args.json and checkpoints/best.pt>"
        )
    agent = load_agent(Path(base.path))
    if agent.spec.control_mode != task.control_mode:
        raise CheckpointError(
            f"base {base.path} was trained for control mode {agent.spec.control_mode}, the task runs "
            f"{task.control_mode}: set task.control_mode={agent.spec.control_mode} or choose another base"
        )
    return DiffusionBase(
        agent, base.act_horizon, base.inference_steps, device=device, seed=seed, native=base.native
    )


def check_base_fits(base: BasePolicy, observation_dim: int, action_dim: int, path: str) -> None:
    """Raise CheckpointError, naming both sides, unless the base fits the environment's spaces."""
    theirs, ours = (base.observation_dim, base.action_dim), (observation_dim, action_dim)
    if theirs != ours:
        raise CheckpointError(
            f"base {path} takes {theirs[0]} observation numbers and gives {theirs[1]} action numbers, "
            f"the task has {ours[0]} and {ours[1]}: choose a base that was trained on this task"
        )
