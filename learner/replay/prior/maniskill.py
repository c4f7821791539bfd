"""ManiSkill's trajectory files of recorded episodes."""

# pyright: reportMissingTypeStubs=false
# h5py has no types: `_open` hides it.

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from config.files import replaced
from learner.replay.dataset.arrow import Array
from learner.replay.prior.demonstration import Demonstration, DemonstrationError, require_usable

EXECUTED = "executed"
"""Name of the executed actions in a file of disturbed demonstrations (`launch.demos.disturbance`)."""


def read_maniskill(path: Path, limit: int | None = None) -> list[Demonstration]:
    """Episodes of a ManiSkill trajectory file with state observations.
    Raises DemonstrationError: no such file, or not of this layout; says how to make one."""
    if not path.is_file():
        raise DemonstrationError(f"no demonstrations at {path}: make them with bash launch/demos.sh")
    try:
        with _open(path, "r") as file:
            names = sorted((name for name in file if name.startswith("traj_")), key=lambda n: int(n[5:]))
            episodes = [_read_trajectory(file[name], f"{path}, {name}") for name in names[:limit]]
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, DemonstrationError):
            raise
        raise DemonstrationError(
            f"{path} is not a ManiSkill trajectory file with state observations: {error}"
        ) from error
    require_usable(episodes, str(path))
    return episodes


def _open(path: Path, mode: str) -> Any:
    # Locking off: reading fails on network file systems otherwise.
    return h5py.File(path, mode, locking=False)


def _read_trajectory(group: Any, where: str) -> Demonstration:
    if isinstance(group["obs"], h5py.Group):
        raise DemonstrationError(
            f"{where}: obs is a group of {sorted(group['obs']) or 'nothing'}, not an array of state "
            "observations: convert the file with python -m mani_skill.trajectory.replay_trajectory "
            "--traj-path <file> -o state --save-traj"
        )

    def numbers(name: str, dtype: DTypeLike) -> Array:
        return np.asarray(group[name], dtype)

    return Demonstration(
        observations=numbers("obs", np.float32),
        actions=numbers("actions", np.float32),
        success=np.atleast_2d(numbers("success", bool).T)[0],
        executed=numbers(EXECUTED, np.float32) if EXECUTED in group else None,
    )


def write_maniskill(path: Path, episodes: list[Demonstration]) -> None:
    """Replace `path` by what `read_maniskill` reads, compressed."""
    with replaced(path) as fresh, _open(fresh, "w") as file:
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
