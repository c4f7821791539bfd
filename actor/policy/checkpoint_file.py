"""Checkpoint files: read without running code from them, and replaced as a whole."""

from pathlib import Path
from typing import Any

import torch

from actor.policy.contract import CheckpointError
from config.files import replaced


def read_checkpoint(path: Path) -> Any:
    """The content of `path`, on the CPU. Raises CheckpointError: the file is missing or not a checkpoint."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds for files that are not checkpoints
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is not a readable checkpoint: {reason}") from error


def write_checkpoint(path: Path, content: Any) -> None:
    """Replace `path` by tensors, numbers, strings, and lists and dictionaries of them.
    Raises CheckpointError: it cannot be written, as on a full disk; the file at `path` stays as it is."""
    try:
        with replaced(path) as fresh:
            torch.save(content, fresh)
    # torch.save reports errors of the disk as RuntimeError.
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}: make room, then start again") from error
