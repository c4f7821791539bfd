"""The residual of another run, which a collection plays: its checkpoint and its settings."""

from pathlib import Path
from typing import Any

import msgspec

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from actor.policy.run_files import NAMED, checkpoint_file, run_folder
from config.collect import CollectConfig, PlayedResidual
from config.earlier import algo_of_this_release
from config.main import Config
from config.process import one_line


def with_residual(config: Config) -> Config:
    """With the settings of the residual that algo.from_run or algo.checkpoint names, read from its file;
    unchanged where there is none, or where another process has filled them in.
    Raises CheckpointError: no residual's file, or of another release. Raises ConfigError: no such run or
    file."""
    algo = config.algo
    if not isinstance(algo, CollectConfig) or algo.residual is not None or checkpoint_of(config) is None:
        return config
    residual = _settings(read_residual(config), checkpoint_of(config))
    filled = msgspec.structs.replace(algo, residual=residual, residual_every=residual.residual_every)
    try:
        return msgspec.structs.replace(config, algo=filled)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint_of(config)} does not fit this run: {one_line(error)}") from error


def checkpoint_of(config: Config) -> Path | None:
    """The file of the residual that a collection plays; None: the base plays alone.
    Raises ConfigError: there is no such run or file."""
    algo = config.algo
    if not isinstance(algo, CollectConfig):
        return None
    folder = folder_of(config)
    if folder is None and algo.checkpoint in NAMED:
        return None
    return checkpoint_file("algo.checkpoint", algo.checkpoint, folder)


def folder_of(config: Config) -> Path | None:
    """Of the run that algo.from_run names. Raises ConfigError: there is none."""
    named = config.algo.from_run if isinstance(config.algo, CollectConfig) else None
    return None if named is None else run_folder("algo.from_run", named, config.runs_dir)


def read_residual(config: Config) -> dict[str, Any]:
    """The content of the checkpoint.
    Raises CheckpointError: it cannot be read, is none of a residual, or has values that are not finite."""
    place = checkpoint_of(config)
    assert place is not None
    content = read_checkpoint(place)
    if not isinstance(content, dict) or not {"algo", "actor"} <= content.keys():
        raise CheckpointError(f"{place} is no checkpoint of a residual: name a run that trains one")
    if (found := non_finite_value(content["actor"])) is not None:
        raise CheckpointError(f"{place}: {found}: choose another checkpoint")
    return content


def _settings(content: dict[str, Any], place: Path | None) -> PlayedResidual:
    match content["algo"]:
        case {"kind": "steering"}:
            raise CheckpointError(
                f"{place} chooses the base's noise, algo=collect plays residuals alone: name another run"
            )
        case _:
            pass
    try:
        return msgspec.convert(algo_of_this_release(content["algo"]), PlayedResidual)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{place}: its algo settings are not of this release: {one_line(error)}"
        ) from error
