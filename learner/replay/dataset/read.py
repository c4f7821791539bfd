"""Reads the metadata of a dataset's folder."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from learner.replay.dataset.format.layout import INFO_PATH, ORIGIN_PATH
from learner.replay.dataset.format.spec import DatasetError, DatasetSpec
from learner.replay.dataset.swap import UnreadableError, snapshot


@contextlib.contextmanager
def open_snapshot(folder: Path) -> Generator[Path]:
    """A dataset's present version, even if a run is writing to it; see `swap.snapshot`.
    Raises DatasetError: it changes faster than it can be opened, one of its files cannot be opened, or what
    was raised inside, with the name of `folder` in it."""
    try:
        with snapshot(folder) as view:
            try:
                yield view
            except DatasetError as error:
                raise DatasetError(str(error).replace(str(view), str(folder))) from error
    except (BlockingIOError, UnreadableError) as error:
        raise DatasetError(str(error)) from error


class BrokenError(DatasetError):
    """A file of a dataset that cannot be read."""


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the dataset. Raises DatasetError: it is missing; a BrokenError if it is broken."""
    try:
        return json.loads((folder / name).read_text())
    except FileNotFoundError:
        raise DatasetError(f"{folder} is no LeRobot dataset: it has no {name}") from None
    except ValueError as error:
        raise BrokenError(f"{folder / name} is broken: {error}") from error


def read_info(folder: Path) -> dict[str, Any]:
    """info.json of a dataset in the format v3.0.
    Raises DatasetError: no dataset, or one of another version."""
    info = read_json(folder, INFO_PATH)
    version = info.get("codebase_version")
    if version != "v3.0":
        raise DatasetError(
            f"{folder} has LeRobot's format {version}, not v3.0: "
            "convert it with python -m lerobot.scripts.convert_dataset_v21_to_v30"
        )
    return info


def read_spec(folder: Path) -> DatasetSpec:
    """The spec of a dataset that this replay wrote. Raises DatasetError: written by something else."""
    if not (folder / ORIGIN_PATH).exists():
        raise DatasetError(
            f"{folder} was not written by this replay (no {ORIGIN_PATH}): "
            "use it as prior data, or edit it with lerobot-edit-dataset"
        )
    origin = read_json(folder, ORIGIN_PATH)
    try:
        return DatasetSpec.from_origin(origin)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{folder / ORIGIN_PATH} is broken: {error!r}") from error


def read_complete_spec(folder: Path) -> DatasetSpec:
    """The same of a dataset that still has all its columns.
    Raises DatasetError: another version, written by something else, or without some columns; says which."""
    info, spec = read_info(folder), read_spec(folder)
    missing = spec.features().keys() - info["features"].keys()
    if missing:
        raise DatasetError(f"{folder} lacks the columns {', '.join(sorted(missing))}")
    return spec
