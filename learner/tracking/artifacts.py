"""Artifacts of Weights & Biases, found and downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from config.process import one_line


class ArtifactError(Exception):
    """An artifact that is not there, or cannot be had; in one line."""


class Found(NamedTuple):
    """An artifact: the digest of its content, and how its files come into a folder."""

    digest: str
    download: Callable[[Path], None]


def find(name: str) -> Found:
    """The artifact ENTITY/PROJECT/NAME:ALIAS. Raises ArtifactError."""
    import wandb
    from wandb.errors import Error

    from learner.tracking.trackers import load_environment

    load_environment()
    try:
        artifact = wandb.Api(timeout=30).artifact(name)
    # ValueError: no such artifact. wandb.errors are of keys and of the server.
    except (Error, ValueError, OSError) as error:
        raise ArtifactError(one_line(error) or type(error).__name__) from error

    def download(folder: Path) -> None:
        try:
            artifact.download(root=str(folder))
        except (Error, ValueError, OSError) as error:
            raise ArtifactError(one_line(error) or type(error).__name__) from error

    return Found(artifact.digest, download)
