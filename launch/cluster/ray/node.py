"""A node of a Ray cluster, and what is asked of it about this run. Imports no Ray."""

from pathlib import Path

import msgspec

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
