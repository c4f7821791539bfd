"""The residual on disk, and all that training goes on from: written beside its place and renamed over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch

from actor.policy.contract import CheckpointError
from config.algo import AlgoConfig
from learner.algorithms.residual_sac import ResidualSAC


def save_checkpoint(folder: Path, algorithm: ResidualSAC, version: int, algo: AlgoConfig) -> Path:
    """Write `newest.pt` with all networks; readable with `torch.load(..., weights_only=True)`."""
    place = folder / "newest.pt"
    content = {
        "version": version,
        "updates": algorithm.updates,
        "algo": msgspec.to_builtins(algo),
        "actor": algorithm.actor.state_dict(),
        "critic": algorithm.critic.state_dict(),
        "target_critic": algorithm.target_critic.state_dict(),
        "log_temperature": algorithm.log_temperature.detach(),
    }
    write_checkpoint(place, content)
    return place


class Stateful(Protocol):
    """A part of training that another process can go on with."""

    def state(self) -> Any:
        """Tensors, numbers, words, and lists and dictionaries of them."""

    def load_state(self, state: Any) -> None:
        """Go on from what `state` returned. Raises ValueError if it belongs to something else."""


class TrainingState:
    """What the next update depends on, but for the replay: `training.pt`.

    With the replay as it was, the update after `load` is the one that would have come after `save`, to
    the bit on a CPU.

    Args:
        folder: of the run's checkpoints.
        parts: by the names that they have in the file.
    """

    def __init__(self, folder: Path, parts: Mapping[str, Stateful]) -> None:
        self._place, self._parts = folder / "training.pt", parts

    def save(self) -> None:
        """Replace the file."""
        write_checkpoint(self._place, {name: part.state() for name, part in self._parts.items()})

    def load(self) -> bool:
        """Take up what was saved; False if nothing was.

        Raises:
            CheckpointError: the file belongs to another configuration, or is broken.
        """
        if not self._place.exists():
            return False
        try:
            saved = read_checkpoint(self._place)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}: remove it, and the run goes on with its replay and new networks, or choose "
                "another name=<run>"
            ) from error
        try:
            for name, part in self._parts.items():
                part.load_state(saved[name])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self._place} does not fit this configuration ({error}): give the run's own keys, or "
                "choose another name=<run>"
            ) from error
        return True


def read_checkpoint(place: Path) -> Any:
    """What `write_checkpoint` wrote.

    Raises:
        CheckpointError: it is missing, or no checkpoint.
    """
    if not place.is_file():
        raise CheckpointError(f"{place} is missing")
    try:
        return torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds for what is not a checkpoint
        raise CheckpointError(f"{place} is not a readable checkpoint: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_checkpoint(place: Path, content: dict[str, Any]) -> None:
    """Write `content` beside `place` and rename it over.

    Raises:
        CheckpointError: as when the disk is full; what was at `place` stays.
    """
    fresh = place.with_name(f"{place.name}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(place)
    # Torch's writer turns what the disk said into a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{place} cannot be written: {error}: make room, then start again") from error
