"""Installed packages that bring tasks of their own, or recipes and bases: they say so by entry points.

    [project.entry-points."residual_rl.config"]
    my_package = "my_package.config"       # a package with folders as in config/: task/, algo/, base/, ...

    [project.entry-points."residual_rl.tasks"]
    my_package = "my_package.tasks"        # a module that registers environments with ManiSkill

A package that fails to import is named, and the others work.
"""

import importlib
import logging
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from config.section import ConfigError

log = logging.getLogger(__name__)

CONFIG, TASKS = "residual_rl.config", "residual_rl.tasks"
OURS = Path(__file__).resolve().parent


@cache
def config_folders() -> tuple[Path, ...]:
    """Folders of installed packages that have files of configuration.
    Raises ConfigError: two packages have the same file, or one has a file of this project."""
    taken = {path.relative_to(OURS): "residual-rl" for path in OURS.glob("*/*.yaml")}
    folders = list[Path]()
    for point in entry_points(group=CONFIG):
        if (folder := _folder(point)) is None:
            continue
        for path in sorted(folder.glob("*/*.yaml")):
            name = path.relative_to(folder)
            if (other := taken.setdefault(name, _package(point))) != _package(point):
                raise ConfigError(
                    f"{name.parent}={name.stem} is in two packages, {other} and {_package(point)}: uninstall "
                    "one of them, or rename the file"
                )
        folders.append(folder)
    return tuple(folders)


@cache
def register_tasks() -> None:
    """Import the modules in which installed packages register environments; once a process."""
    for point in entry_points(group=TASKS):
        try:
            importlib.import_module(point.module)
        except Exception as error:  # of a package's own code: any kind
            _warn(point, error)


def _folder(point: EntryPoint) -> Path | None:
    try:
        spec = find_spec(point.value)
    except Exception as error:  # importing what is around it runs the package's own code
        return _warn(point, error)
    places: Iterator[str] = iter((spec and spec.submodule_search_locations) or ())
    place = next(places, None)
    return Path(place) if place else _warn(point, ModuleNotFoundError(f"no package {point.value}"))


def _warn(point: EntryPoint, error: Exception) -> None:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    log.warning("package %s is left out: its %s %s: %s", _package(point), point.group, point.value, said)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module.partition(".")[0]
