"""ManiSkill's trajectory files of recorded episodes."""

# pyright: reportMissingTypeStubs=false
# h5py has no types: `_h5` hides it.

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from config.files import replace_text, replaced
from learner.replay.dataset.arrow import Array
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.origin import Origin
from learner.replay.prior.recording import Recording

EXECUTED = "executed"
"""Name of the executed actions in a file of disturbed demonstrations (`launch.demos.disturbance`)."""
_h5: Any = h5py
_NAME = re.compile(r"traj_(\d+)")
_CONVERT = (
    "convert the file with python -m mani_skill.trajectory.replay_trajectory --traj-path {} -o state "
    "--save-traj (with -c <mode> for another control mode)"
)


def read_trajectories(path: Path, limit: int | None = None) -> list[Recording]:
    """Episodes of a ManiSkill trajectory file, in the order of their numbers.
    Raises DemonstrationError: not of this layout, or without state observations."""
    try:
        with _open(path, "r") as file:
            return [_read_trajectory(file[name], path) for name in _episode_names(file, path)[:limit]]
    # What h5py raises for a file that is cut short or damaged depends on the place of the damage.
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        if isinstance(error, DemonstrationError):
            raise
        raise DemonstrationError(
            f"{path} is not a readable ManiSkill trajectory file: {error}: copy it again, or record it again"
        ) from error


def _open(path: Path, mode: str) -> Any:
    # Locking off: reading fails on network file systems otherwise.
    return _h5.File(path, mode, locking=False)


def _episode_names(file: Any, path: Path) -> list[str]:
    numbered = {name: int(found[1]) for name in file if (found := _NAME.fullmatch(name))}
    strange = [name for name in file if name.startswith("traj_") and name not in numbered]
    if numbered and not strange:
        return sorted(numbered, key=numbered.__getitem__)
    there = strange or [*_names_within(file)]
    listed = f"{', '.join(there[:4])}{', ...' if len(there) > 4 else ''}" if there else "nothing"
    raise DemonstrationError(
        f"{path} has {listed} where a ManiSkill trajectory file has its episodes traj_0, traj_1, ...: name "
        "them so, each with obs, actions and success, or make a LeRobot dataset of the file"
    )


def _names_within(file: Any) -> Iterator[str]:
    for name, part in file.items():
        if isinstance(part, _h5.Group):
            yield from (f"{name}/{inner}" for inner in part)
        else:
            yield name


def _read_trajectory(group: Any, path: Path) -> Recording:
    where = f"{path}, {str(group.name).removeprefix('/')}"

    def optional(name: str) -> Array | None:
        return _numbers(group[name], where) if name in group else None

    for name in ("obs", "actions"):
        if name not in group:
            raise DemonstrationError(f"{where} has no {name}, it has {', '.join(group) or 'nothing'}")
    executed = optional(EXECUTED)
    return Recording(
        observations=_observations(group["obs"], path, where),
        actions=_float32(_numbers(group["actions"], where)),
        success=optional("success"),
        reward=optional("rewards"),
        executed=None if executed is None else _float32(executed),
    )


def _observations(obs: Any, path: Path, where: str) -> Array:
    """(T + 1, O); those in parts (obs_mode state_dict) one after the other, as ManiSkill flattens them."""
    if isinstance(obs, _h5.Group) and isinstance(obs.get("state"), _h5.Dataset):
        obs = obs["state"]  # obs_mode rgb+state and the like
    if isinstance(obs, _h5.Dataset):
        return _float32(_numbers(obs, where))
    convert = _CONVERT.format(path)
    if set(obs) != {"agent", "extra"}:
        raise DemonstrationError(
            f"{where}: obs has {', '.join(obs) or 'nothing in it'}, no state observations: {convert}"
        )
    parts = list(_parts(obs, where, convert))
    if len({len(part) for part in parts}) != 1:
        raise DemonstrationError(f"{where}: the parts of obs have {[len(part) for part in parts]} rows")
    return np.concatenate([_float32(part.reshape(len(part), -1)) for part in parts], axis=1)


def _parts(group: Any, where: str, convert: str) -> Iterator[Array]:
    """The arrays in a group of groups, in the order in which ManiSkill's simulator gave them."""
    # HDF5 sorts names that come without an order, and then nothing says which dimension is which.
    if not group.id.get_create_plist().get_link_creation_order() & _h5.h5p.CRT_ORDER_TRACKED:
        raise DemonstrationError(
            f"{where}: obs is in parts, and the file does not keep their order: {convert}"
        )
    for part in group.values():
        if isinstance(part, _h5.Group):
            yield from _parts(part, where, convert)
        elif len(values := _numbers(part, where)):
            if values.ndim > 2:
                raise DemonstrationError(
                    f"{where}: {part.name} has shape {values.shape}, no state: {convert}"
                )
            yield values


def _numbers(dataset: Any, where: str) -> Array:
    if not isinstance(dataset, _h5.Dataset):
        raise DemonstrationError(f"{where}: {dataset.name} is a group of {', '.join(dataset)}, not an array")
    if dataset.dtype.kind not in "biuf" or not dataset.shape:
        raise DemonstrationError(
            f"{where}: {dataset.name} is not an array of numbers but of type {dataset.dtype} and shape "
            f"{dataset.shape}"
        )
    return dataset[()]


def _float32(values: Array) -> Array:
    with np.errstate(over="ignore"):  # what is beyond a float32 is refused as not finite
        return values.astype(np.float32, copy=False)


def write_maniskill(path: Path, episodes: Sequence[Demonstration], origin: Origin | None = None) -> None:
    """Replace `path` by a file of `episodes`, compressed, and the json beside it by what `origin` names."""
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
    if origin is not None and origin.env_id is not None:
        replace_text(path.with_suffix(".json"), json.dumps(_described(episodes, origin), indent=2) + "\n")


def _described(episodes: Sequence[Demonstration], origin: Origin) -> dict[str, Any]:
    """What ManiSkill writes beside a trajectory file, as far as it is known."""
    kwargs: dict[str, Any] = {"obs_mode": "state"}
    if len(origin.control_modes) == 1:
        kwargs["control_mode"] = origin.control_modes[0]
    listed = [
        {"episode_id": number, "elapsed_steps": len(episode.actions), "success": bool(episode.success[-1])}
        for number, episode in enumerate(episodes)
    ]
    return {"env_info": {"env_id": origin.env_id, "env_kwargs": kwargs}, "episodes": listed}
