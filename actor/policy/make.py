"""The base policy of a configuration."""

import logging
from pathlib import Path

from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.padded import PaddedBase, padding_hint
from actor.policy.dimensions import dimensions_of
from actor.policy.zero import ZeroBase
from config.base import BaseConfig, DiffusionBaseConfig, LeRobotBaseConfig, ZeroBaseConfig
from config.spaces import spaces_of
from config.task import TaskConfig

log = logging.getLogger(__name__)


def make_base(base: BaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    """The base of `config/base`, checked against the task's dimensions.

    Raises:
        ConfigError: the task's dimensions cannot be found out, see `named_dimensions`.
        CheckpointError: it cannot be read, or does not fit the task's control mode, action space,
            observation or the horizon asked for; names both sides.
    """
    if spaces_of(task).absolute:
        raise CheckpointError(
            f"task.control_mode={task.control_mode} has actions outside [-1, 1], bases plan inside: choose "
            "a delta control mode such as pd_ee_delta_pose, and a base that was trained for it"
        )
    made = _load(base, task, device)
    check_base_fits(made, *dimensions_of(task), base.path)
    return made


def _load(base: BaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    match base:
        case ZeroBaseConfig():
            return ZeroBase(base, task)
        case LeRobotBaseConfig():
            _check_control_mode(base.path, base.control_mode, task)
            try:
                # Imported here: an actor host needs lerobot only for such a base.
                from actor.policy.lerobot.files import load_lerobot_base
            except ModuleNotFoundError as error:
                raise CheckpointError(
                    f"base=lerobot needs LeRobot ({error}): pip install -e '.[learner]' brings it"
                ) from error
            return load_lerobot_base(base, task, device)
        case DiffusionBaseConfig():
            return _load_diffusion(base, task, device)
        case _:
            raise TypeError(f"no base for {base!r}")


def _load_diffusion(base: DiffusionBaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    if not Path(base.path).is_dir():
        raise CheckpointError(
            f"no folder {base.path} with a base for task.env_id={task.env_id}: check both names, "
            "or set base.path=<folder with args.json and checkpoints/best.pt>"
        )
    agent = load_agent(Path(base.path))
    _check_control_mode(base.path, agent.spec.control_mode, task)
    trained_for, ours = (name.rpartition("-v")[0] for name in (agent.spec.env_id, task.env_id))
    if not ours.startswith(trained_for):
        log.warning("base %s was trained on %s, the task is %s", base.path, agent.spec.env_id, task.env_id)
    made = DiffusionBase(
        agent, base.act_horizon, base.inference_steps, device, native=base.native, cuda_graph=base.cuda_graph
    )
    return made if base.pad_obs_to is None else PaddedBase(made, base.pad_obs_to, base.path)


def _check_control_mode(path: str, trained_for: str, task: TaskConfig) -> None:
    if trained_for != task.control_mode:
        raise CheckpointError(
            f"base {path} was trained for control mode {trained_for}, the task runs "
            f"{task.control_mode}: set task.control_mode={trained_for} or choose another base"
        )


def check_base_fits(base: BasePolicy, observation_dim: int, action_dim: int, path: str) -> None:
    """Raise CheckpointError, naming both sides, unless the base fits the environment's spaces."""
    theirs, ours = (base.observation_dim, base.action_dim), (observation_dim, action_dim)
    if theirs == ours:
        return
    raise CheckpointError(
        f"base {path} takes {theirs[0]} observation dimensions and gives {theirs[1]} action dimensions, "
        f"the task has {ours[0]} and {ours[1]}: {padding_hint(base, observation_dim)}"
    )
