"""run_remote_actor: an actor that knows the learner's address alone, and asks it for the rest."""

import logging
import re
import socket
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

from config.compose import compose_config
from config.process import UsageError
from config.shared import host_keys, join_run, read_run
from config.trust import trusting
from config.words import quoted

log = logging.getLogger(__name__)

# A remote actor gets its index from its host's name, above the indices of the learner's own actors.
FIRST_INDEX, INDICES = 100, 100_000

_ADDRESS = re.compile(r"tcp://(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[A-Za-z0-9._-]+|\*)):(?P<port>[0-9]{1,6})")
_ALL_INTERFACES = ("*", "0.0.0.0", "::")


def run_remote_actor(
    address: str, keys: Path | None, overrides: Sequence[str], stop: threading.Event
) -> None:
    """Ask the learner for task, base and algo, then be one of its actors.

    Args:
        address: tcp://HOST:PORT, the learner's experience port; its weights port is the next one, unless
            `overrides` has wire.weights_port.
        keys: folder with learner.public and this host's actor-NAME.secret.
        overrides: actor.*, wire.*, and of the base what may differ between hosts.

    Raises:
        UsageError: no address, or overrides of what comes from the learner.
        ConfigError: the learner's description of its run cannot be used.
        CheckpointError: this host lacks the learner's base; says what to copy.
        and what `run_actor` raises.
    """
    host = compose_config(make_overrides(address, keys, overrides, socket.gethostname()))
    # Later than the words are checked: this takes seconds.
    from actor.link.ask import ask_run
    from actor.loop import name_of, prepare_process, run_with_base
    from actor.malloc import keep_freed_memory
    from actor.remote_base import load_base, require_folder

    keep_freed_memory()
    described = ask_run(host.wire, name_of(host.actor), stop)
    if described is None:
        return
    shared = read_run(described)
    config = join_run(shared, host, host_keys(overrides))
    log.info(
        "the learner runs %s: task %s, base %s, algo %s",
        config.name, config.task.name, config.base.path, config.algo.name,
    )  # fmt: skip
    require_folder(config, shared)
    prepare_process(config)
    with trusting(config.trust_remote_code):
        run_with_base(config, load_base(config, shared), stop)


def make_overrides(address: str, keys: Path | None, overrides: Sequence[str], host_name: str) -> list[str]:
    """`overrides`, behind those that follow from the address and the host's name.
    Raises UsageError: no address, or overrides of what comes from the learner."""
    host, port = parse_address(address)
    plain_name = re.sub(r"[^A-Za-z0-9._-]", "-", host_name) or "host"
    derived = {
        "wire.host": host,
        "wire.experience_port": port,
        "wire.weights_port": port + 1,
        # A run's name may be new at every start; this folder is found again.
        "actor.spool": f"runs/spools/{re.sub('[^A-Za-z0-9.]', '-', host)}-{port}",
        "actor.id": f"actor-{plain_name}",
        "actor.count": 1,  # alone on its host: its simulators may have all processors but one
        "actor.index": FIRST_INDEX + zlib.crc32(plain_name.encode()) % INDICES,
    }
    if keys is not None:
        derived["wire.keys_dir"] = quoted(str(keys))
    given = host_keys(overrides)
    return [f"{key}={value}" for key, value in derived.items() if key not in given] + [*overrides]


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of tcp://HOST:PORT, with brackets around an IPv6 address.
    Raises UsageError for anything else, and for addresses where a learner listens that lead nowhere."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise UsageError(f"{text} is no address: write tcp://HOST:PORT, or tcp://[IPV6]:PORT")
    # In a URL the % before an interface is written %25.
    host, port = found["ipv6"] or found["name"], int(found["port"])
    if host in _ALL_INTERFACES:
        raise UsageError(
            f"{text}: a learner listens at {host}, but nobody can connect to it: give the address of the "
            "learner's host, or 127.0.0.1 on that host"
        )
    if not 1 <= port < 65535:
        raise UsageError(f"{text}: the port must be in 1 .. 65534, and the next one is for weights")
    return host.replace("%25", "%"), port
