"""The base of a remote actor: the learner's, from this host's disk."""

import ipaddress
import shlex
from pathlib import Path

from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.make import make_base
from config.base import LeRobotBaseConfig
from config.main import Config
from config.shared import SharedConfig


def require_folder(config: Config, shared: SharedConfig) -> None:
    """Raise CheckpointError, which says what to copy, if this host has no folder for the learner's base."""
    path = config.base.path
    is_hub_id = isinstance(config.base, LeRobotBaseConfig) and path != shared.base.path
    if shared.base_folder is not None and not Path(path).is_dir() and not is_hub_id:
        raise CheckpointError(f"this host has no base at {path}; {_wanted(config, shared)}")


def load_base(config: Config, shared: SharedConfig) -> BasePolicy:
    """The learner's base, from this host's disk.
    Raises CheckpointError: another one is there; names both and says what to copy."""
    try:
        base = make_base(config.base, config.task, config.actor.device)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_wanted(config, shared)}") from error
    if base.fingerprint != shared.base_fingerprint:
        raise CheckpointError(
            f"the base at {config.base.path} on this host has the fingerprint {_short(base.fingerprint)}; "
            f"{_wanted(config, shared)}"
        )
    return base


def _wanted(config: Config, shared: SharedConfig) -> str:
    """The learner's base, and how to get it."""
    has = f"the learner's base has the fingerprint {_short(shared.base_fingerprint)}"
    if shared.base_folder is None:
        return f"{has}: give base.path={shared.base.path}"
    source = f"{_copied_from(config.wire.host)}:{shlex.quote(shared.base_folder)}"
    target = shlex.quote(f"{Path(shared.base.path).parent}/")
    return f"{has}: copy it with scp -r {source} {target}, or give base.path=<its folder here>"


def _copied_from(host: str) -> str:
    """The learner's host as scp needs it: unknown behind a tunnel."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return "<learner host>"
    return f"[{host}]" if ":" in host else host


def _short(fingerprint: str) -> str:
    return fingerprint[:12]
