"""The residual of another run, which a collection plays: its checkpoint and its settings."""

from pathlib import Path
from typing import Any

import msgspec

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from config.algo import AlgoConfig
from config.collect import CollectConfig
from config.main import Config
from config.process import one_line

# Names of checkpoints that a run's folder has; any other is the path of a file.
_NAMED = {"best": "best.pt", "newest": "newest.pt"}


def with_residual(config: Config) -> Config:
    """With the settings of the residual that algo.from_run or algo.checkpoint names, read from its file;
    unchanged where there is none, or where another process has filled them in.
    Raises CheckpointError: no such file, no residual's, or of another release."""
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
    """The file of the residual that a collection plays; None: the base plays alone."""
    algo = config.algo
    if not isinstance(algo, CollectConfig):
        return None
    if algo.checkpoint not in _NAMED:
        return Path(algo.checkpoint)
    folder = folder_of(config)
    return None if folder is None else folder / "checkpoints" / _NAMED[algo.checkpoint]


def folder_of(config: Config) -> Path | None:
    """Of the run that algo.from_run names, by its name or its folder."""
    named = config.algo.from_run if isinstance(config.algo, CollectConfig) else None
    if named is None:
        return None
    return Path(named) if Path(named).is_dir() else Path(config.runs_dir) / named


def read_residual(config: Config) -> dict[str, Any]:
    """The content of the checkpoint.
    Raises CheckpointError: it cannot be read, is none of a residual, or has values that are not finite."""
    place, folder = checkpoint_of(config), folder_of(config)
    assert place is not None
    if folder is not None and not folder.is_dir():
        raise CheckpointError(f"algo.from_run={folder.name}: there is no run {folder}")
    if folder is not None and not place.exists():
        raise CheckpointError(
            f"{place} does not exist: choose another with algo.checkpoint=best, newest, or the path of a file"
        )
    content = read_checkpoint(place)
    if not isinstance(content, dict) or not {"algo", "actor"} <= content.keys():
        raise CheckpointError(f"{place} is no checkpoint of a residual: name a run that trains one")
    if (found := non_finite_value(content["actor"])) is not None:
        raise CheckpointError(f"{place}: {found}: choose another checkpoint")
    return content


def _settings(content: dict[str, Any], place: Path | None) -> AlgoConfig:
    try:
        return msgspec.convert({"kind": "residual", **content["algo"]}, AlgoConfig)
    except (msgspec.ValidationError, TypeError) as error:
        raise CheckpointError(
            f"{place}: its algo settings are not of this release: {one_line(error)}"
        ) from error
