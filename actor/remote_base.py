"""The base of a remote actor: the learner's, from this host's disk."""

import ipaddress
import shlex
from pathlib import Path

from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.make import make_base
from config.base import LeRobotBaseConfig
from config.main import Config
from config.shared import SharedConfig


def load_base(config: Config, shared: SharedConfig) -> BasePolicy:
    """The learner's base, from this host's disk.
    Raises CheckpointError: it is not here, or another one is; names both and says what to copy."""
    path, remedy = config.base.path, _remedy(config, shared)
    wanted = f"the learner's base has the fingerprint {_short(shared.base_fingerprint)}: {remedy}"
    is_hub_id = isinstance(config.base, LeRobotBaseConfig) and path != shared.base.path
    if shared.base_folder is not None and not Path(path).is_dir() and not is_hub_id:
        raise CheckpointError(f"this host has no base at {path}; {wanted}")
    try:
        base = make_base(config.base, config.task, config.actor.device)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {wanted}") from error
    if base.fingerprint != shared.base_fingerprint:
        here = _short(base.fingerprint)
        raise CheckpointError(f"the base at {path} on this host has the fingerprint {here}; {wanted}")
    return base


def _remedy(config: Config, shared: SharedConfig) -> str:
    if shared.base_folder is None:
        return f"give base.path={shared.base.path}"
    source = f"{_copied_from(config.wire.host)}:{shlex.quote(shared.base_folder)}"
    target = Path(shared.base.path).parent
    return f"copy it with scp -r {source} {target}/, or give base.path=<its folder here>"


def _copied_from(host: str) -> str:
    """The learner's host as scp needs it: unknown behind a tunnel."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return "<learner host>" if loopback else host


def _short(fingerprint: str) -> str:
    return fingerprint[:12]
