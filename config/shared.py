"""What all processes of a run must share, and what the host of a remote actor gives itself.

The learner describes its run with `describe_run`. An actor that knows the learner's address alone reads the
description with `read_run` and joins it with what its host gives.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from config.base import ZeroBaseConfig
from config.main import AnyAlgorithm, AnyBase, Config
from config.process import UsageError, one_line
from config.section import ConfigError, Section
from config.task import TaskConfig
from config.words import read_words

# Of the base: where it is on a host, and how that host computes its plans.
_OF_HOST = ("path", "native", "cuda_graph")


class SharedConfig(Section, frozen=True):
    """What a learner tells a remote actor."""

    name: str
    seed: int
    task: TaskConfig
    base: AnyBase
    algo: AnyAlgorithm
    record_images: Literal["video", "image"] | None
    """learner.record_images"""
    interventions: bool
    """Whether experience says in which frames somebody acted instead of the policy."""
    fps: int
    """learner.fps"""
    base_fingerprint: str
    base_folder: str | None
    """The base's folder on the learner's host, as an absolute path; None: no files, or a hub id."""

    def __post_init__(self) -> None:
        # For people to read: no control characters on their terminal.
        self.require(self.base_fingerprint.isprintable(), "base_fingerprint", "printable")
        self.require((self.base_folder or "").isprintable(), "base_folder", "printable, or null")


def describe_run(config: Config, base_fingerprint: str) -> dict[str, Any]:
    """What the learner with this configuration tells remote actors; `read_run` reads it."""
    folder = Path(config.base.path).resolve()
    has_folder = folder.is_dir() and not isinstance(config.base, ZeroBaseConfig)
    shared = SharedConfig(
        name=config.name,
        seed=config.seed,
        task=config.task,
        base=config.base,
        algo=config.algo,
        record_images=config.learner.record_images,
        interventions=config.interventions,
        fps=config.learner.fps,
        base_fingerprint=base_fingerprint,
        base_folder=str(folder) if has_folder else None,
    )
    return msgspec.to_builtins(shared)


def read_run(described: dict[str, Any]) -> SharedConfig:
    """What a learner described.
    Raises ConfigError: not a description of this release; names the key."""
    try:
        return msgspec.convert(described, SharedConfig, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"the learner sent a configuration that cannot be used: {one_line(error)}"
        ) from error


def host_keys(overrides: Sequence[str]) -> set[str]:
    """The keys that a remote actor's overrides set.
    Raises UsageError: words that are no overrides, or keys that come from the learner; names them."""
    keys = [override.key_or_group for override in read_words(overrides, Config)]
    allowed = [*(f"base.{key}" for key in _OF_HOST), "trust_remote_code"]
    if foreign := [key for key in keys if not key.startswith(("actor.", "wire.")) and key not in allowed]:
        raise UsageError(
            f"{', '.join(foreign)}: this comes from the learner; beside its address, give "
            f"actor.*, wire.*, {', '.join(allowed)} alone"
        )
    return set(keys)


def join_run(shared: SharedConfig, host: Config, given: Collection[str]) -> Config:
    """The configuration of a remote actor.

    Args:
        host: composed on the actor's host; `given` are the keys that were set there.

    Raises:
        ConfigError: the learner's sections do not fit each other, or its base has no such key.
    """
    of_host = {key: getattr(host.base, key) for key in _OF_HOST if key != "path" or "base.path" in given}
    fields = shared.base.__struct_fields__
    if unknown := [key for key in of_host if f"base.{key}" in given and key not in fields]:
        kind = shared.base.__struct_config__.tag
        raise ConfigError(f"configuration: base.{unknown[0]} does not exist for the learner's base={kind}")
    if host.actor.intervene is not None and not shared.interventions:
        raise ConfigError(
            f"configuration: actor.intervene={host.actor.intervene}: the learner keeps no interventions: "
            "start the run with learner.interventions=true"
        )
    own = {key: value for key, value in of_host.items() if key in fields}
    try:
        return msgspec.structs.replace(
            host,
            name=shared.name,
            seed=shared.seed,
            task=shared.task,
            base=msgspec.structs.replace(shared.base, **own),
            algo=shared.algo,
            learner=msgspec.structs.replace(
                host.learner,
                record_images=shared.record_images,
                interventions=shared.interventions,
                fps=shared.fps,
            ),
        )
    except ValueError as error:
        raise ConfigError(
            f"the learner sent a configuration that cannot be used: {one_line(error)}"
        ) from error
