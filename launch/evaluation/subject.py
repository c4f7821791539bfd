"""What an evaluation plays: the one place where the name of a run, checkpoint or policy becomes files."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from actor.policy.run_files import SUFFIXES
from config.base import ZeroBaseConfig, kind_of
from config.compose import compose_config
from config.main import Config
from config.process import UsageError
from config.residual import ResidualConfig
from config.tasks import task_file
from config.words import key_of
from launch.run.folder import find_run, is_run
from launch.run.trained import base_of_run, config_of_run, residual_of_run
from launch.share.elsewhere import is_elsewhere, local_copy

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_KINDS = "name a run, a checkpoint (.safetensors, or .pt), a folder with a base, or a LeRobot policy"


@dataclass(frozen=True)
class Subject:
    """A base, alone or with a residual."""

    config: Config
    residual: Path | None
    """Its checkpoint; None: the base alone."""

    def __str__(self) -> str:
        base = f"base {self.config.base.path}"
        return base if self.residual is None else f"{base} with {self.residual}"

    @property
    def results(self) -> Path | None:
        """Where its evaluations are kept: beside what was evaluated. None: it has no folder here."""
        if self.residual is not None:
            return self.residual.with_suffix(".evaluated.json")
        folder = Path(self.config.base.path)
        kept = folder.is_dir() and not isinstance(self.config.base, ZeroBaseConfig)
        return folder / "evaluated.json" if kept else None


def find_subject(
    name: str | None, overrides: Sequence[str], residual: Path | None, base_alone: bool
) -> Subject:
    """What `name` means, with some keys set anew.

    Args:
        name: None: the base that the overrides name.
        residual: a checkpoint of a residual that plays instead of the subject's own.
        base_alone: without a residual.

    Raises UsageError: there is no such thing, or it has no residual."""
    found = _named(name, overrides, base_alone or residual is not None)
    if base_alone:
        return Subject(found.config, None)
    return Subject(found.config, residual or found.residual)


def _named(name: str | None, overrides: Sequence[str], without_own: bool) -> Subject:
    if name is None:
        return Subject(compose_config(overrides), None)
    if is_elsewhere(name):
        from learner.checkpoints.shared import RESIDUAL  # takes seconds

        copy = local_copy(name)
        if (copy / RESIDUAL).is_file():
            raise UsageError(f"{name} is a residual: name a run of its task, and --residual {name}")
        return _named(str(copy), overrides, without_own)
    path = Path(name)
    if path.is_file():
        return _of_file(path, overrides)
    if (path / "args.json").is_file():
        return Subject(_with_base(path, overrides), None)
    if (path / "config.json").is_file():
        return Subject(_with_lerobot(name, overrides), None)
    if is_run(find_run(name)):
        return _of_run(find_run(name), overrides, without_own)
    if _HUB_ID.fullmatch(name) and not Path(name).parent.exists():
        return Subject(_with_lerobot(name, overrides), None)
    raise UsageError(f"no run {find_run(name)}, and nothing else at {name}: {_KINDS}")


def _of_run(run_dir: Path, overrides: Sequence[str], without_residual: bool) -> Subject:
    """What the run has trained: a residual on its base, or a base."""
    config = config_of_run(f"{run_dir}", overrides)
    if config.algo.trains_base:
        trained = msgspec.structs.replace(config.base, path=str(base_of_run(run_dir)))
        return Subject(msgspec.structs.replace(config, base=trained), None)
    if without_residual:
        return Subject(config, None)
    if not isinstance(config.algo, ResidualConfig):
        raise UsageError(
            f"run {run_dir} has algo={config.algo.name}, which trains nothing: name another run, or "
            "--base-alone"
        )
    return Subject(config, residual_of_run(f"{run_dir}"))


def _of_file(path: Path, overrides: Sequence[str]) -> Subject:
    """A checkpoint of a base in the published layout, or of a residual in its run's folder."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no checkpoint: {_KINDS}")
    above = path.resolve().parents
    if len(above) > 1 and (above[1] / "args.json").is_file():
        if path.stem != "best":
            raise UsageError(f"{path}: a base plays its best checkpoint: name the folder {above[1]}")
        return Subject(_with_base(path.parent.parent, overrides), None)
    run_dir = next((folder for folder in above if is_run(folder)), None)
    if run_dir is None:
        raise UsageError(
            f"{path} lies in no run's folder, so its settings are not known: give the keys of its run, and "
            f"--residual {path}"
        )
    return Subject(config_of_run(str(run_dir), overrides), path)


def _with_base(folder: Path, overrides: Sequence[str]) -> Config:
    """The task that a base in the published layout was trained on, with this base."""
    arguments = _arguments(folder)
    kind = kind_of(arguments)
    words = [] if kind is None or _sets("base", overrides) else [f"base={kind}"]
    words.append(f"base.path={folder}")
    env_id = arguments.get("env_id")
    if isinstance(env_id, str) and not _sets("task", overrides):
        known = task_file(env_id)
        words.append(f"task={known}" if known else f"task.env_id={env_id}")
    return compose_config([*words, *overrides])


def _arguments(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "args.json").read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / 'args.json'} is broken: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{folder / 'args.json'} is broken: no object of keys and values")
    return found


def _with_lerobot(path: str, overrides: Sequence[str]) -> Config:
    kind = [] if _sets("base", overrides) else ["base=lerobot"]
    return compose_config([*kind, f"base.path={path}", *overrides])


def _sets(group: str, overrides: Sequence[str]) -> bool:
    return any(key_of(word) == group for word in overrides)
