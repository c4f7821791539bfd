"""One run on a Ray cluster, supervised from here: what `residual-rl run cluster=ray` does."""

import contextlib
import functools
import logging
import os
import secrets
from collections.abc import Generator
from pathlib import Path

import msgspec

from config.cluster import RayConfig
from config.main import Config
from config.process import stop_on_signals
from launch.cluster.ray.limits import require_keys, require_room
from launch.cluster.ray.node import SEEN, Home, Node
from launch.cluster.ray.session import joined, living_nodes, seeing
from launch.cluster.ray.team import RayTeam
from launch.run.folder import ROOT
from launch.run.launcher import (
    LaunchError,
    note_machine,
    require_parts,
    run_here,
    sole_launcher,
    with_sizes,
    write_launch_file,
)

log = logging.getLogger("launch")


def launch_on_ray(config: Config, cluster: RayConfig) -> int:
    """One run; returns its exit code, as `launch.run.launcher.launch` does.
    Raises UsageError: it cannot be started like this."""
    require_keys(config, cluster)
    config = for_nodes(config, cluster)
    require_parts(config)
    config = with_sizes(config)
    with joined(cluster), sole_launcher(config):
        stop = stop_on_signals()  # Ray sets handlers of its own
        nodes = living_nodes()
        require_room(cluster, nodes)
        launch_file = write_launch_file(config)
        note_machine(config)
        with shown(config) as home:
            of_learner = seeing(nodes, home, cluster.answer_s, strict=True)
            _say(nodes, of_learner, home)
            make_team = functools.partial(
                RayTeam, cluster=cluster, config=config, launch_file=launch_file, home=home, seeing=of_learner
            )
            return run_here(config, launch_file, stop, make_team)


def for_nodes(config: Config, cluster: RayConfig) -> Config:
    """With absolute paths, and with the actors' share of a node."""
    actor = config.actor
    # One is enough for an actor that plans while others simulate; Ray does not keep it to its processors.
    processes = max(1, int(cluster.actor_cpus)) if actor.processes is None else actor.processes
    spool = None if actor.spool is None else str(Path(actor.spool).absolute())
    return msgspec.structs.replace(
        config,
        runs_dir=str(Path(config.runs_dir).absolute()),
        actor=msgspec.structs.replace(actor, count=cluster.actors, processes=processes, spool=spool),
    )


@contextlib.contextmanager
def shown(config: Config) -> Generator[Home]:
    """A file in the run's folder, by which nodes show during the block that they see it."""
    place, token = config.run_dir / SEEN, secrets.token_hex(16)
    try:
        place.write_text(token)
    except OSError as error:
        raise LaunchError(f"{place} cannot be written: {error.strerror}") from error
    try:
        yield Home(root=str(ROOT), folder=os.getcwd(), run_dir=str(config.run_dir), token=token)
    finally:
        place.unlink(missing_ok=True)


def _say(nodes: list[Node], of_learner: list[Node], home: Home) -> None:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    log.info(
        "Ray cluster: %d node(s) with %g CPUs and %g GPUs; the run's folder is seen by %d",
        len(nodes), cpus, gpus, len(of_learner),
    )  # fmt: skip
    if len(nodes) > 1 and len(of_learner) == 1:
        log.warning(
            "only node %s sees %s: with it the learner is lost; a runs_dir that all nodes see lets it go on "
            "elsewhere", of_learner[0].address, home.run_dir,
        )  # fmt: skip
