"""Installed packages that bring tasks, bases and algorithms of their own: they say so by entry points.

    [project.entry-points."residual_rl.config"]
    my_package = "my_package.config"       # a package with folders as in config/: task/, algo/, base/, ...

    [project.entry-points."residual_rl.tasks"]
    my_package = "my_package.tasks"        # a module that registers environments with ManiSkill

    [project.entry-points."residual_rl.bases"]
    my_kind = "my_package.settings:MyBaseConfig"    # a BaseConfig of tag="my_kind" with a method `make`

    [project.entry-points."residual_rl.algorithms"]
    my_kind = "my_package.settings:MyConfig"        # an AlgorithmConfig of that tag with `make_training`

A package that fails to import is named, and the others work.
"""

import importlib
import logging
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import msgspec

from config.section import ConfigError, Section

log = logging.getLogger(__name__)

CONFIG, TASKS = "residual_rl.config", "residual_rl.tasks"
BASES, ALGORITHMS = "residual_rl.bases", "residual_rl.algorithms"
OURS = Path(__file__).resolve().parent
# What importing may raise: it runs the package's own code, which may even end the process.
_ANY = (Exception, SystemExit)


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


def names_in(group: str) -> set[str]:
    """The files of a group, ours and those of packages: what may stand behind `task=`. Raises ConfigError."""
    return {path.stem for folder in (OURS, *config_folders()) for path in (folder / group).glob("*.yaml")}


@cache
def register_tasks() -> None:
    """Import the modules in which installed packages register environments; once a process."""
    for point in entry_points(group=TASKS):
        try:
            importlib.import_module(point.module)
        except _ANY as error:
            _warn(point, error)


def with_installed(ours: UnionType, group: str, parent: type[Section], maker: str) -> Any:
    """A union of settings, with those that installed packages register in `group`.

    Args:
        parent: the class that all of them are below.
        maker: the method that those of packages must have.

    Raises ConfigError: two packages have one name, or one has a name of this project."""
    taken = {_tag(kind): "residual-rl" for kind in get_args(ours)}
    joined: Any = ours
    for point in entry_points(group=group):
        if (other := taken.setdefault(point.name, _package(point))) != _package(point):
            raise ConfigError(
                f"{point.name} of {group} is in two packages, {other} and {_package(point)}: uninstall one "
                "of them"
            )
        try:
            wider = joined | _settings(point.load(), point.name, parent, maker)
            msgspec.json.Decoder(wider)  # raises TypeError for a field of an unsuitable type
            joined = wider
        except _ANY as error:
            _warn(point, error)
    return joined


def _settings(found: Any, name: str, parent: type[Section], maker: str) -> type[Section]:
    """Raise TypeError unless `found` is what an entry point of this name should be."""
    kind = found if isinstance(found, type) and issubclass(found, parent) else None
    if kind is None or _tag(kind) != name or not callable(getattr(kind, maker, None)):
        raise TypeError(f"no class below {parent.__name__} with tag={name!r} and a method {maker}")
    return kind


def _tag(kind: type[Section]) -> str | int | None:
    return kind.__struct_config__.tag


def _folder(point: EntryPoint) -> Path | None:
    try:
        spec = find_spec(point.value)
    except _ANY as error:
        return _warn(point, error)
    places: Iterator[str] = iter((spec and spec.submodule_search_locations) or ())
    place = next(places, None)
    return Path(place) if place else _warn(point, ModuleNotFoundError(f"no package {point.value}"))


def _warn(point: EntryPoint, error: BaseException) -> None:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    log.warning("package %s is left out: its %s %s: %s", _package(point), point.group, point.value, said)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module.partition(".")[0]
