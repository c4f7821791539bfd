"""Reads the metadata of a dataset's folder."""

import contextlib
import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from config.files import broken_link
from learner.replay.dataset.content import why_no_content
from learner.replay.dataset.format.layout import INFO_PATH, ORIGIN_PATH, TASKS_PATH
from learner.replay.dataset.format.spec import DatasetError, DatasetSpec, Feature
from learner.replay.dataset.swap import UnreadableError, snapshot

# A folder with none of these is something else, and not a damaged dataset.
_PARTS = (INFO_PATH, TASKS_PATH, ORIGIN_PATH, "meta/episodes", "data")


@contextlib.contextmanager
def open_snapshot(folder: Path) -> Generator[Path]:
    """A dataset's present version, even if a run is writing to it; see `swap.snapshot`.
    Raises DatasetError: there is no such folder, it is no dataset, it changes faster than it can be opened,
    one of its files cannot be opened, or what was raised inside, with the name of `folder` in it."""
    try:
        if not folder.is_dir():
            reason = "it is a file" if folder.exists() else broken_link(folder) or "there is no such folder"
            raise DatasetError(f"{folder} is no LeRobot dataset: {reason}")
        with snapshot(folder) as view:
            if not any((view / name).exists() for name in _PARTS):
                raise DatasetError(f"{folder} is no LeRobot dataset: it has no {INFO_PATH}")
            try:
                yield view
            except DatasetError as error:
                raise type(error)(str(error).replace(str(view), str(folder))) from error
    except (BlockingIOError, UnreadableError) as error:
        raise DatasetError(str(error)) from error
    except PermissionError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error


class BrokenError(DatasetError):
    """A file of a dataset that is missing or cannot be read."""


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of the dataset. Raises BrokenError: it is missing, cannot be read, or holds no object."""
    path = folder / name
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BrokenError(f"{folder} is no LeRobot dataset: it has no {name}") from None
    except OSError as error:
        raise BrokenError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BrokenError(f"{path} is broken: {why_no_content(path) or error}") from error
    if not isinstance(content, dict):
        raise BrokenError(f"{path} is broken: it is no JSON object")
    return cast("dict[str, Any]", content)


class VersionError(DatasetError):
    """A dataset in another version of LeRobot's format."""


def read_info(folder: Path) -> dict[str, Any]:
    """info.json of a dataset in the format v3.
    Raises BrokenError: it cannot be read; a VersionError if the dataset has another version."""
    info = read_json(folder, INFO_PATH)
    version = info.get("codebase_version")
    major = re.match(r"v?(\d+)\.", str(version))
    if major is None:
        said = "lacks codebase_version" if version is None else f"has codebase_version {version!r}"
        raise BrokenError(f"{folder / INFO_PATH} {said}: it should be v3.0")
    if major[1] != "3":
        remedy = "update LeRobot" if int(major[1]) > 3 else _converter(folder)
        raise VersionError(f"{folder} has LeRobot's format {version}, not v3.0: {remedy}")
    return info


def _converter(folder: Path) -> str:
    command = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=local/dataset"
    return f'convert it with {command} --root="{folder}" --push-to-hub=false'


def read_features(info: dict[str, Any]) -> dict[str, Feature] | None:
    """The features that info.json lists, None if it lists none."""
    content = info.get("features")
    features = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    return features if features and all(isinstance(each, dict) for each in features.values()) else None


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
