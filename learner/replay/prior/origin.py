"""Where demonstrations come from: the task, control mode and base that the files beside them name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from config.process import one_line
from learner.replay.dataset.format.layout import ORIGIN_PATH
from learner.replay.dataset.read import read_json
from learner.replay.prior.error import DemonstrationError

SPEC_FILE = "spec.json"
"""In a run's folder, beside its replay: what its learner and actors agreed on."""
_CONFIG_FILE = "config.yaml"
_STEERING = "steering"
"""Kind of algo=dsrl (`config.steering`), in whose runs the base plans from noise that a network chose."""


@dataclass(frozen=True)
class Origin:
    """None, or no control mode: the files do not say it."""

    env_id: str | None = None
    control_modes: tuple[str, ...] = ()
    base_fingerprint: str | None = None
    """Of the base that a run was made with, if what it planned are its own plans: not from chosen noise."""


class _Task(msgspec.Struct):
    env_id: str | None = None
    control_mode: str | None = None


class _Algo(msgspec.Struct):
    kind: str | None = None


class _RunConfig(msgspec.Struct):
    task: _Task
    algo: _Algo = msgspec.field(default_factory=_Algo)


class _RunSpec(msgspec.Struct):
    base_fingerprint: str | None = None


class _EnvKwargs(msgspec.Struct, frozen=True):
    control_mode: str | None = None


class _EnvInfo(msgspec.Struct):
    env_id: str | None = None
    env_kwargs: _EnvKwargs = _EnvKwargs()


class _Episode(msgspec.Struct):
    control_mode: str | None = None


class _Trajectories(msgspec.Struct):
    """The json that ManiSkill writes beside a trajectory file."""

    env_info: _EnvInfo
    episodes: tuple[_Episode, ...] = ()


def origin_of_file(path: Path) -> Origin:
    """That of a ManiSkill file, from the json beside it if there is one.
    Raises DemonstrationError: the json is broken, or of something else."""
    described = path.with_suffix(".json")
    if not described.is_file():
        return Origin()
    content = _read(described, _Trajectories)
    # A simulator that was made without a control mode has one all the same: each episode says it.
    modes = {episode.control_mode for episode in content.episodes} - {None}
    modes = modes or {content.env_info.env_kwargs.control_mode} - {None}
    return Origin(content.env_info.env_id, tuple(sorted(mode for mode in modes if mode)))


def origin_of_dataset(folder: Path, view: Path) -> Origin:
    """That of a LeRobot dataset in `folder` with the files `view`: of this project's replays alone.
    Raises DemonstrationError, DatasetError: a file of the run beside it is broken."""
    task: str | None = None
    if (view / ORIGIN_PATH).is_file():
        named = read_json(view, ORIGIN_PATH).get("task")
        task = named if isinstance(named, str) else None
    run_dir = folder.resolve().parent
    if not ((run_dir / SPEC_FILE).is_file() and (run_dir / _CONFIG_FILE).is_file()):
        return Origin(task)
    config = _read(run_dir / _CONFIG_FILE, _RunConfig)
    made, planned_by = config.task, _read(run_dir / SPEC_FILE, _RunSpec).base_fingerprint
    modes = () if made.control_mode is None else (made.control_mode,)
    return Origin(made.env_id or task, modes, None if config.algo.kind == _STEERING else planned_by)


def _read[T](path: Path, kind: type[T]) -> T:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark before the text
        # Python's own writer leaves NaN in json, which msgspec refuses.
        content: Any = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
        return msgspec.convert(content, kind)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DemonstrationError(
            f"{path}, which describes demonstrations, is broken: {one_line(error)}: mend it or move it away"
        ) from error


def require_same_task(
    origin: Origin, env_id: str | None, control_mode: str | None, *, source: str, allowed_by: str
) -> None:
    """Raise DemonstrationError if the demonstrations name another task or control mode; None: any will do."""
    there = [("task", mode, env_id) for mode in (origin.env_id,) if mode is not None]
    there += [("control mode", mode, control_mode) for mode in origin.control_modes]
    for what, found, wanted in there:
        if wanted is not None and found != wanted:
            raise DemonstrationError(
                f"{source} has demonstrations of {what} {found}, this is {wanted}: choose others, or accept "
                f"them with {allowed_by}"
            )
