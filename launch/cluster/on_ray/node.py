"""A node of a Ray cluster, and what a run needs to be at home there. Imports no Ray."""

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path

import msgspec

from config.cluster import RayConfig
from config.main import Config
from config.process import UsageError
from launch.run.folder import ROOT

SEEN = "node_token"
"""The file of a run's folder by which a node shows that it sees the folder."""


class Node(msgspec.Struct, frozen=True):
    """A node that is alive, and what all of it is, whoever uses it now."""

    id: str
    address: str
    cpus: float
    gpus: float


class Home(msgspec.Struct, frozen=True):
    """Where the launcher is: paths in a configuration are its own."""

    root: str
    """Of the project."""
    folder: str
    """The working directory."""
    run_dir: str
    token: str
    """What the file SEEN has in the run's folder."""


def sees(home: Home) -> bool:
    """Whether this node sees the run's folder: not another one of the same name."""
    try:
        return (Path(home.run_dir) / SEEN).read_text() == home.token
    except (OSError, UnicodeDecodeError):
        return False


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
        raise UsageError(f"{place} cannot be written: {error.strerror}") from error
    try:
        yield Home(root=str(ROOT), folder=os.getcwd(), run_dir=str(config.run_dir), token=token)
    finally:
        place.unlink(missing_ok=True)
