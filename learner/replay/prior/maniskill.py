"""Recorded episodes, and ManiSkill's trajectory files of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

EXECUTED = "executed"
"""Name of the executed actions in a file of disturbed demonstrations (`launch.demos.disturbance`)."""


class DemonstrationError(ValueError):
    """Demonstrations that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Demonstration:
    """One episode of T actions: observations (T + 1, O), actions (T, A), success (T,) bool, and, where
    pushes disturbed it, the actions (T, A) that were executed: `actions` are those to imitate."""

    observations: np.ndarray
    actions: np.ndarray
    success: np.ndarray
    executed: np.ndarray | None = None

    @property
    def taken(self) -> np.ndarray:
        """The actions (T, A) that led from one observation to the next."""
        return self.actions if self.executed is None else self.executed

    def cut_at_success(self) -> Demonstration:
        """The episode as the task would have ended it: at its first successful frame."""
        if not self.success.any():
            return self
        frames = int(np.argmax(self.success)) + 1
        return Demonstration(
            self.observations[: frames + 1],
            self.actions[:frames],
            self.success[:frames],
            None if self.executed is None else self.executed[:frames],
        )


def read_maniskill(path: Path, limit: int | None = None) -> list[Demonstration]:
    """Episodes of a ManiSkill trajectory file with state observations.

    Raises:
        DemonstrationError: no such file, or not of this layout; says how to make one.
    """
    if not path.is_file():
        raise DemonstrationError(f"no demonstrations at {path}: make them with bash launch/demos.sh")
    try:
        # Locking off: reading fails on network file systems otherwise.
        with h5py.File(path, "r", locking=False) as file:
            names = sorted((name for name in file if name.startswith("traj_")), key=lambda n: int(n[5:]))
            return [
                Demonstration(
                    np.asarray(file[name]["obs"], np.float32),
                    np.asarray(file[name]["actions"], np.float32),
                    np.asarray(file[name]["success"], bool),
                    _optional(file[name], EXECUTED),
                )
                for name in names[:limit]
            ]
    except (OSError, KeyError) as error:
        raise DemonstrationError(
            f"{path} is not a ManiSkill trajectory file with state observations: {error}"
        ) from error


def _optional(group: h5py.Group, name: str) -> np.ndarray | None:
    return np.asarray(group[name], np.float32) if name in group else None


def write_maniskill(path: Path, episodes: list[Demonstration]) -> None:
    """Write what `read_maniskill` reads, compressed, beside its place and renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with h5py.File(fresh, "w", locking=False) as file:
        for number, episode in enumerate(episodes):
            group = file.create_group(f"traj_{number}")
            for name, values in (
                ("obs", episode.observations),
                ("actions", episode.actions),
                ("success", episode.success),
                (EXECUTED, episode.executed),
            ):
                if values is not None:
                    group.create_dataset(name, data=values, compression="gzip", shuffle=True)
    fresh.rename(path)
