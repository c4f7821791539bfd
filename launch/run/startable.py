"""A run's configuration, checked and completed before anything of the run is written or started."""

import logging
from pathlib import Path

import msgspec

from actor.experts.table import expert_of
from actor.policy.dimensions import dimensions_of, require_bounded
from actor.policy.run_files import expert_files
from config.base import PublishedBaseConfig, why_no_base
from config.collect import CollectConfig
from config.main import Config
from config.process import UsageError
from config.reach import changed_dims, require_fitting
from config.section import ConfigError
from config.spaces import spaces_of
from config.wire import WireConfig
from learner.folder import require_run_dir
from learner.replay.prior.source import require_prior_sources
from learner.tracking.trackers import require_trackers
from protocol.channel.addresses import ChannelError
from protocol.channel.sockets import Endpoint, require_free

log = logging.getLogger("launch")


class LaunchError(UsageError):
    """A run that cannot be started here; one line that says why and what to do."""


def startable(config: Config) -> Config:
    """With all that its processes would ask for one after the other.
    Raises UsageError of several kinds: the run cannot be started like this."""
    require_settings(config)
    require_free_ports(config.wire)
    config = with_played(with_sizes(config))
    require_reach(config)
    require_files(config)
    return config


def require_settings(config: Config) -> None:
    """What can be known at once, wherever the run will be.
    Raises UsageError: of trackers, names of actors, the run's folder, or the actions of the task."""
    require_trackers(config.tracking, config.learner.wandb)
    require_one_name_each(config)
    require_no_person(config)
    require_run_dir(config)
    require_bounded(config.task)


def require_reach(config: Config) -> None:
    """Raise ConfigError if residual or noise has a number for a dimension that actions lack."""
    residual, action_dim = config.algo.plays, dimensions_of(config.task).action_dim
    require_fitting(config.algo.scale, action_dim)
    changed_dims(config.algo.pushed_dims if residual is None else residual.residual_dims, action_dim)


def require_files(config: Config) -> None:
    """Raise UsageError if the base or prior data is not there; `require_inputs` reads them."""
    require_base(config)
    require_prior_sources(config)
    if config.actor.intervene == "expert":
        require_expert(config)


def require_expert(config: Config) -> None:
    """Raise ConfigError if the run of actor.expert is missing; without one, if the task has no script."""
    if config.actor.expert.run is None:
        expert_of(config.task)
    else:
        expert_files(config.actor.expert, config.runs_dir)


def require_one_name_each(config: Config) -> None:
    """Raise ConfigError if several actors would have the same name."""
    if config.actor.id is not None and config.actor.count > 1:
        raise ConfigError(
            f"configuration: actor.id={config.actor.id} cannot name {config.actor.count} actors: "
            "leave it out, or set actor.count=1"
        )


def require_no_person(config: Config) -> None:
    """Raise ConfigError if a person should drive the robots of actors that have no terminal."""
    if config.actor.by_person:
        how = config.actor.intervene
        raise ConfigError(
            f"configuration: actor.intervene={how} needs a terminal of its own: start the run with "
            f"learner.interventions=true and, in another terminal, residual-rl actor "
            f"tcp://127.0.0.1:{config.wire.experience_port} actor.intervene={how}"
        )


def require_free_ports(wire: WireConfig) -> None:
    """Raise LaunchError if the learner could not bind its ports."""
    try:
        # Closed at once: the learner binds them for good.
        require_free(msgspec.convert(wire, Endpoint, from_attributes=True))
    except ChannelError as error:
        raise LaunchError(str(error)) from error


def require_base(config: Config) -> None:
    """Raise LaunchError if a base in the published layout is missing: children would notice seconds later."""
    if isinstance(config.base, PublishedBaseConfig) and not (Path(config.base.path) / "args.json").is_file():
        raise LaunchError(why_no_base(config.base.path, config.task.env_id))


def with_sizes(config: Config) -> Config:
    """With the dimensions of a task that config/spaces.yaml does not know, so that each process need not ask.
    Raises ConfigError: the simulator cannot tell them."""
    task = config.task
    if task.sizes is not None or spaces_of(task).action_dim is not None:
        return config
    log.info("asking %s for the dimensions of %s", task.simulator, task.env_id)
    sizes = dimensions_of(task)
    log.info("%s has observation_dim %d and action_dim %d", task.env_id, *sizes)
    return msgspec.structs.replace(config, task=msgspec.structs.replace(task, sizes=tuple(sizes)))


def with_played(config: Config) -> Config:
    """With the settings of the residual that a collection plays, so that each process need not read them.
    Raises CheckpointError, ConfigError: see `actor.policy.from_run`."""
    if not isinstance(config.algo, CollectConfig):
        return config
    from actor.policy.from_run import with_residual  # torch takes seconds

    return with_residual(config)
