"""A run's checkpoints: the networks for other tools, and everything that a resumed training needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from actor.policy.checkpoint_file import read_checkpoint, write_checkpoint, write_safetensors
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from config.algorithm import AlgorithmConfig
from learner.algorithms.contract import Algorithm, Stateful
from learner.algorithms.finite import NonFiniteError


class Checkpoints:
    """`newest.safetensors`, the networks, and `training.pt`, all that the next update depends on but the
    replay.

    With the same replay, the update after `load` is the one that would have come after `save`, to the bit on
    a CPU.

    Args:
        folder: the run's folder of checkpoints.
        resumable: what `training.pt` holds, by the names in the file.
    """

    def __init__(
        self, folder: Path, algorithm: Algorithm, resumable: Mapping[str, Stateful], algo: AlgorithmConfig
    ) -> None:
        self._folder, self._algorithm, self._algo = folder, algorithm, algo
        self._state = TrainingState(folder, resumable)

    def save(self, version: int) -> None:
        """Replace both files; `version` is the newest one that was published.
        Raises NonFiniteError: a value is not finite; both files stay as they are."""
        require_finite(self._state.content(), self._folder)
        save_checkpoint(self._folder, self._algorithm, version, self._algo)
        self._state.save()

    def load(self) -> bool:
        """Resume what was saved; False if nothing was. Raises CheckpointError."""
        return self._state.load()


def save_checkpoint(folder: Path, algorithm: Algorithm, version: int, algo: AlgorithmConfig) -> Path:
    """Write `newest.safetensors` and its JSON with all networks, if there are any. Returns its place."""
    place = folder / "newest.safetensors"
    networks = algorithm.networks()
    if networks:
        about = {"version": version, "updates": algorithm.updates, "algo": msgspec.to_builtins(algo)}
        write_safetensors(place, about | networks)
    return place


class TrainingState:
    """The states of several parts in one file, `training.pt`."""

    def __init__(self, folder: Path, parts: Mapping[str, Stateful]) -> None:
        self._place, self._parts = folder / "training.pt", parts

    def content(self) -> dict[str, Any]:
        return {name: part.state() for name, part in self._parts.items()}

    def save(self) -> None:
        write_checkpoint(self._place, self.content())

    def load(self) -> bool:
        """Resume what was saved; False if nothing was.
        Raises CheckpointError: the file belongs to another configuration or release, is broken, or has values
        that are not finite."""
        if not self._place.exists():
            return False
        try:
            saved = read_checkpoint(self._place)
            if (found := non_finite_value(saved)) is not None:
                raise CheckpointError(f"{self._place}: {found}")
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


def require_finite(content: Any, folder: Path) -> None:
    """Raise NonFiniteError if a checkpoint with this content would have a value that is not finite."""
    if (found := non_finite_value(content)) is not None:
        raise NonFiniteError(
            f"nothing is saved to {folder}: {found}; lower the learning rates and start again, which goes on "
            "from the last checkpoint"
        )
