"""A process of a run on a node of a Ray cluster: started with its files, watched, ended. Imports no Ray."""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from config.compose import write_config
from config.files import is_locked
from config.main import Config
from config.process import UsageError
from launch.cluster.on_ray.node import Home, sees
from launch.run.folder import ROOT
from launch.run.processes import Command, Ended, Team
from learner.folder import LEARNER
from protocol.channel.addresses import ChannelError
from protocol.channel.keys import write_private
from protocol.channel.sockets import Endpoint, require_free

# The longest that `listen` waits for a line: it delays what is asked after it.
_LISTEN_S = 0.5
# A network file system keeps the lock of a learner whose node has died for a while.
_LOCKED_S = 120.0


@dataclass(frozen=True)
class Work:
    """A process to start. `config_file` is the word of its command that names the configuration."""

    command: Command
    config: Config
    config_file: str
    home: Home


@dataclass(frozen=True)
class Secrets:
    """What no log and no command line shows: key files by their names, and variables of the environment."""

    keys: Mapping[str, str]
    env: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Secrets({', '.join([*self.keys, *self.env])})"


@dataclass(frozen=True)
class Heard:
    """What a process wrote since the last time, and how it ended, if it has."""

    lines: tuple[str, ...]
    ended: Ended | None


class Host:
    """Has one process at a time. Ray calls one method after the other, in one thread."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._team = Team(None, self._keep)

    def _keep(self, name: str, line: str) -> None:
        self._lines.append(line)

    def require_free(self, endpoint: Endpoint) -> None:
        """Raise UsageError if a learner could not bind its ports here."""
        try:
            require_free(msgspec.structs.replace(endpoint, insecure=True, keys_dir=None))
        except ChannelError as error:
            raise UsageError(f"on the learner's node: {error}") from error

    def start(self, work: Work, secrets: Secrets) -> Heard:
        """Start the process, after the end of an earlier one."""
        self.end()
        # As at home: relative paths lead to the same files where this node has them.
        os.chdir(work.home.folder if Path(work.home.folder).is_dir() else ROOT)
        if work.command.role == "learner":
            _wait_until_unlocked(Path(work.home.run_dir) / LEARNER)
        private = Path(tempfile.mkdtemp(prefix="residual-rl-"))
        config_file = private / "launch.yaml"
        write_config(config_file, _at_this_node(work.config, work.home, private))
        _write_keys(private / "keys", secrets.keys)
        words = work.command.argv[1:]
        argv = (sys.executable, *(str(config_file) if w == work.config_file else w for w in words))
        env = (*work.command.env, *secrets.env.items())
        # Without this Host the process is lost, and the next one may start elsewhere at any moment.
        self._team = Team(None, self._keep, private)
        self._team.start(replace(work.command, argv=argv, env=env))
        return self._heard(None)

    def listen(self) -> Heard:
        """Wait a moment for lines, or for the end of the process."""
        deadline_s = time.monotonic() + _LISTEN_S
        ended: list[Ended] = []
        while not self._lines and not ended and time.monotonic() < deadline_s:
            ended = self._team.pump(0.1)
        return self._heard(ended[0] if ended else None)

    def end(self) -> Heard:
        """End the process, within ten seconds; what it wrote last."""
        ended = self._team.end()
        return self._heard(ended[0] if ended else None)

    def _heard(self, ended: Ended | None) -> Heard:
        lines, self._lines = tuple(self._lines), []
        # Its environment has secrets.
        return Heard(lines, ended and replace(ended, command=replace(ended.command, env=())))


def _write_keys(folder: Path, keys: Mapping[str, str]) -> None:
    for name, text in keys.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text)


def _at_this_node(config: Config, home: Home, private: Path) -> Config:
    """With paths that this node has."""
    actor, replaced = config.actor, msgspec.structs.replace
    if actor.spool is not None and not sees(home):
        # Found again by an actor of the same name that is started here later.
        name = f"residual-rl-spool-{os.getuid()}"
        actor = replaced(actor, spool=str(Path(tempfile.gettempdir()) / name / config.name))
    return replaced(
        config,
        wire=replaced(config.wire, keys_dir=str(private / "keys")),
        actor=actor,
        base=replaced(config.base, path=_found(config.base.path, home)),
    )


def _found(path: str, home: Home) -> str:
    """`path`, or the same in this node's project: shipped bases are found wherever that is."""
    inside = Path(path).relative_to(home.root) if Path(path).is_relative_to(home.root) else Path(path)
    own = ROOT / inside
    return str(own) if own.exists() and not Path(path).exists() else path


def _wait_until_unlocked(place: Path) -> None:
    """Until a learner before has left the run's folder; the new one says so if it has not."""
    deadline_s = time.monotonic() + _LOCKED_S
    while is_locked(place) and time.monotonic() < deadline_s:
        time.sleep(0.2)


def look(home: Home) -> bool:
    """Whether this node sees the run's folder, and can run a Host, which is in this file."""
    return sees(home)
