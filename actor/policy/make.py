"""The base policy of a configuration."""

import logging
from pathlib import Path

from actor.policy.behaviour_transformer.base import BehaviourTransformerBase
from actor.policy.behaviour_transformer.checkpoint import load_transformer
from actor.policy.contract import BasePolicy, CheckpointError, MakesBase
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.dimensions import dimensions_of, require_bounded
from actor.policy.padded import PaddedBase, TrainablePaddedBase, padding_hint
from actor.policy.zero import ZeroBase
from config.base import (
    BaseConfig,
    BehaviourTransformerBaseConfig,
    DiffusionBaseConfig,
    LeRobotBaseConfig,
    PublishedBaseConfig,
    ZeroBaseConfig,
    why_no_base,
)
from config.task import TaskConfig

log = logging.getLogger(__name__)


def make_base(base: BaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    """The base of `config/base`, checked against the task's dimensions.

    Raises:
        ConfigError: the task's dimensions cannot be found out, see `dimensions_of`, or its actions are not
            a base's, see `require_bounded`.
        CheckpointError: it cannot be read, or is not of the task, its control mode, observation, actions, or
            the horizon asked for; names both sides.
    """
    require_bounded(task)
    made = _load(base, task, device)
    check_base_fits(made, *dimensions_of(task), base.path)
    return made


def _load(base: BaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    if isinstance(base, MakesBase):
        return base.make(task, device)
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
        case BehaviourTransformerBaseConfig():
            return _load_transformer(base, task, device)
        case _:
            raise TypeError(f"no base for {base!r}")


def _load_diffusion(base: DiffusionBaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    agent = load_agent(_folder(base, task))
    _check_control_mode(base.path, agent.spec.control_mode, task)
    made: DiffusionBase | PaddedBase = DiffusionBase(
        agent, base.act_horizon, base.inference_steps, device, native=base.native, cuda_graph=base.cuda_graph
    )
    if base.pad_obs_to is not None:
        made = TrainablePaddedBase(made, base.pad_obs_to, base.path)
    return _of_task(made, base, agent.spec.env_id, task)


def _load_transformer(base: BehaviourTransformerBaseConfig, task: TaskConfig, device: str) -> BasePolicy:
    agent = load_transformer(_folder(base, task))
    _check_control_mode(base.path, agent.spec.control_mode, task)
    made: BehaviourTransformerBase | PaddedBase = BehaviourTransformerBase(agent, base.dropout, device)
    if base.pad_obs_to is not None:
        made = PaddedBase(made, base.pad_obs_to, base.path)
    return _of_task(made, base, agent.spec.env_id, task)


def _folder(base: PublishedBaseConfig, task: TaskConfig) -> Path:
    if not Path(base.path).is_dir():
        raise CheckpointError(why_no_base(base.path, task.env_id))
    return Path(base.path)


def _of_task(made: BasePolicy, base: PublishedBaseConfig, trained_on: str, task: TaskConfig) -> BasePolicy:
    # Other dimensions are refused in any case, and say more than the name.
    check_base_fits(made, *dimensions_of(task), base.path)
    _check_task(base, trained_on, task)
    return made


def _check_task(base: PublishedBaseConfig, trained_on: str, task: TaskConfig) -> None:
    """A base of PegInsertionSide-v1 is one for PegInsertionSideBounded-v1 too; some name no task."""
    trained, ours = (name.rpartition("-v")[0] for name in (trained_on, task.env_id))
    if ours.startswith(trained):
        return
    both = f"base {base.path} was trained on {trained_on}, the task is {task.env_id}"
    if base.of_other_task == "refuse":
        raise CheckpointError(f"{both}: choose another base, or accept it with base.of_other_task=accept")
    log.warning("%s", both)


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
