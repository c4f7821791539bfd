"""The processes of a run on a Ray cluster, each in a Host; what is lost is started again elsewhere."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import (
    GetTimeoutError,
    RayError,
    RayTaskError,
)

from config.cluster import RayConfig
from config.main import Config
from config.process import FAILED, USAGE_ERROR, FailedError, UsageError, one_line
from launch.cluster.on_ray.host import Heard, Host, Secrets, Work
from launch.cluster.on_ray.keys import make_run_keys
from launch.cluster.on_ray.limits import needs_of
from launch.cluster.on_ray.logs import Logs
from launch.cluster.on_ray.node import Home, Node
from launch.cluster.on_ray.session import living_nodes, on_node, seeing
from launch.run.processes import Command, Ended, Team
from protocol.channel.sockets import Endpoint

log = logging.getLogger("launch")

ROLES = ("learner", "actor", "evaluator")
"""Of processes that are on the cluster; all others are beside the launcher."""

_AGAIN_S = 1.0
# A busy cluster: how long a process waits for a node before that is said.
_WAITS_S = 60.0
# A learner that has to go elsewhere gets the place of an actor, one more after each of these.
_ROOM_S = 10.0
# Longer than a Host takes to end its process.
_END_S = 12.0


@dataclass
class Member:
    """A process and its Host. `heard` is what the Host was asked last; None: it has to be placed."""

    command: Command
    host: Any = None
    heard: Any = None
    begun: bool = False
    again: bool = False
    """It has to be started anew: the learner is elsewhere."""
    losses: int = 0
    due_s: float = 0.0
    said_waiting: bool = False


class RayTeam:
    """As `launch.run.processes.Team`, for a learner, its actors and evaluator.

    Args:
        config: of the run, with paths of this machine.
        launch_file: the word by which commands name the configuration.
        seeing: nodes that see the run's folder: the learner has to be on one of them.
    """

    def __init__(
        self,
        log_dir: Path,
        echo: Callable[[str, str], None],
        *,
        cluster: RayConfig,
        config: Config,
        launch_file: Path,
        home: Home,
        seeing: Sequence[Node],
    ) -> None:
        self._local = Team(log_dir, echo)
        self._logs = Logs(log_dir, echo)
        self._cluster, self._config, self._home = cluster, config, home
        self._launch_file = str(launch_file)
        self._seeing = list(seeing)
        self._members: dict[str, Member] = {}
        self._learner: Member | None = None
        self._address = ""
        keys = make_run_keys()
        wandb = {key: value for key, value in os.environ.items() if key.startswith("WANDB_")}
        # Through the object store: what a call has as a plain argument is in Ray's records of tasks.
        client = ray.put(Secrets(keys.client, {}))
        learner = ray.put(Secrets(keys.learner, wandb))
        self._secrets = {"learner": learner, "actor": client, "evaluator": client}

    def start(self, command: Command) -> None:
        """The learner first: the others need its address.
        Raises UsageError: its ports are taken on its node. FailedError: no node can have it."""
        if command.role not in ROLES:
            self._local.start(command)
            return
        member = Member(_complete(command), due_s=time.monotonic())
        self._members[command.name] = member
        if command.role == "learner":
            self._learner = member
            self._place(member)
            self._require_free_ports(member)

    def alive(self, role: str | None = None) -> list[Command]:
        """The commands that run or will run again, of one role or of all."""
        here = [m.command for m in self._members.values() if role in (None, m.command.role)]
        return here + self._local.alive(role)

    def pump(self, timeout_s: float) -> list[Ended]:
        """Pass on lines for up to `timeout_s` seconds; return the processes that have ended for good."""
        ended = self._local.pump(0.0) if self._local.alive() else []
        for member in list(self._members.values()):
            if member.heard is None and time.monotonic() >= member.due_s and self._may_begin(member):
                ended += self._begin(member)
        asked = {member.heard: member for member in self._members.values() if member.heard is not None}
        if asked:
            done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
        else:
            done = []
            time.sleep(timeout_s)
        for ref in done:
            ended += self._hear(asked[ref])
        self._watch_waiting()
        return ended

    def end(self) -> None:
        """End all processes."""
        hosts = {m.host.end.remote(): m for m in self._members.values() if m.host is not None}
        self._local.end()
        done, late = ray.wait(list(hosts), num_returns=len(hosts), timeout=_END_S) if hosts else ([], [])
        for ref in done:
            with contextlib.suppress(RayError):  # lost by now
                self._logs.show(hosts[ref].command.name, ray.get(ref).lines)
        for ref in late:
            log.debug("%s had not begun", hosts[ref].command.name)
        for member in self._members.values():
            _release(member)
        self._members.clear()
        self._logs.close()

    def _may_begin(self, member: Member) -> bool:
        """Others wait until the learner has its place."""
        return member is self._learner or self._learner is None or self._learner.begun

    def _begin(self, member: Member) -> list[Ended]:
        member.said_waiting, member.again = False, False
        try:
            if member.host is None:
                self._place(member)
        except FailedError as error:
            return self._remove(member, FAILED, one_line(error))
        member.heard = self._started(member)
        return []

    def _place(self, member: Member) -> None:
        """Ask Ray for a Host. Raises FailedError: no node can have the learner."""
        need = needs_of(self._cluster)[member.command.role]
        options = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_restarts": 0, "max_concurrency": 1}
        if member.command.role == "learner":
            node = self._node_for_learner()
            self._move(node.address)
            options["scheduling_strategy"] = on_node(node)
        else:
            options["scheduling_strategy"] = "SPREAD"  # so that a node that is lost takes few of them
        member.host = ray.remote(Host).options(**options).remote()

    def _node_for_learner(self) -> Node:
        need, alive = needs_of(self._cluster)["learner"], living_nodes()
        known = [node for node in alive if node in self._seeing]
        if not any(map(need.fits, known)):  # perhaps a node has come
            self._seeing = known = seeing(alive, self._home, self._cluster.answer_s, strict=False)
        fit = [node for node in known if need.fits(node)]
        if not fit:
            raise FailedError(
                f"no node that sees {self._home.run_dir} is left for the learner: add one, "
                "then resume=must goes on"
            )
        return fit[0]

    def _move(self, address: str) -> None:
        """The learner is, or will be, at `address`: clients of another one are started anew."""
        if self._address not in ("", address):
            log.info("the learner goes to %s", address)
            for member in self._members.values():
                member.again = member.host is not None
        self._address = address

    def _require_free_ports(self, learner: Member) -> None:
        wire = msgspec.structs.replace(self._config.wire, host=self._address)
        asked = learner.host.require_free.remote(msgspec.convert(wire, Endpoint, from_attributes=True))
        try:
            ray.get(asked, timeout=self._cluster.answer_s)
        except GetTimeoutError:
            log.warning("the learner waits for %s, where others use what it needs", self._address)
        except RayTaskError as error:
            raise UsageError(_said(error)) from error
        except RayError as error:
            raise FailedError(f"the learner's node {self._address} is lost: {_said(error)}") from error

    def _started(self, member: Member) -> Any:
        wire = msgspec.structs.replace(self._config.wire, host=self._address)
        config = msgspec.structs.replace(self._config, wire=wire)
        work = Work(member.command, config, self._launch_file, self._home)
        return member.host.start.remote(work, self._secrets[member.command.role])

    def _hear(self, member: Member) -> list[Ended]:
        """Lines and end of a process; ask for the next ones."""
        try:
            heard: Heard = ray.get(member.heard)
        except RayTaskError as error:
            code = USAGE_ERROR if isinstance(error.cause, UsageError) else FAILED
            return self._remove(member, code, _said(error))
        except RayError as error:
            return self._lose(member, f"its node or its Host is gone ({_said(error)})", host_is_gone=True)
        member.begun = True
        self._logs.show(member.command.name, heard.lines)
        if heard.ended is not None:
            return self._judge(member, heard.ended)
        if member.again:
            member.again = False
            member.heard = self._started(member)
        else:
            member.heard = member.host.listen.remote()
        return []

    def _judge(self, member: Member, ended: Ended) -> list[Ended]:
        """Whether a process that has ended is lost, or done."""
        if ended.code > 128:
            return self._lose(member, f"a signal killed it ({ended.code - 128})", host_is_gone=False)
        learner_is_away = self._learner is not None and not self._learner.begun
        if ended.code == FAILED and member is not self._learner and learner_is_away:
            return self._lose(member, "it waited for the learner in vain", host_is_gone=False)
        return self._remove(member, ended.code, ended.error)

    def _lose(self, member: Member, why: str, *, host_is_gone: bool) -> list[Ended]:
        member.losses += 1
        if self._learner is None or member.losses > self._cluster.restarts:
            return self._remove(member, FAILED, f"lost for the {member.losses}. time: {why}")
        log.warning("%s is lost: %s; starting it again", member.command.name, why)
        if host_is_gone:
            _release(member)
        member.heard, member.begun, member.due_s = None, False, time.monotonic() + _AGAIN_S
        return []

    def _remove(self, member: Member, code: int, error: str) -> list[Ended]:
        del self._members[member.command.name]
        if member is self._learner:
            self._learner = None
        _release(member)
        return [Ended(member.command, code, error)]

    def _watch_waiting(self) -> None:
        """Say which processes wait for a node; a learner that waits gets the place of an actor."""
        now_s = time.monotonic()
        for member in list(self._members.values()):
            if member.begun or member.heard is None:
                continue
            if member is self._learner and now_s > member.due_s + _ROOM_S and member.losses:
                member.due_s = now_s
                self._make_room()
            elif not member.said_waiting and now_s > member.due_s + _WAITS_S:
                member.said_waiting = True
                need = needs_of(self._cluster)[member.command.role]
                log.warning(
                    "%s waits for %g CPUs and %g GPUs that nobody else uses on a node",
                    member.command.name, need.cpus, need.gpus,
                )  # fmt: skip

    def _make_room(self) -> None:
        actors = [m for m in self._members.values() if m.command.role == "actor" and m.host is not None]
        if actors:
            log.info("%s makes room for the learner", actors[-1].command.name)
            actors[-1].host.end.remote()
            _release(actors[-1])
            actors[-1].heard, actors[-1].begun, actors[-1].due_s = None, False, time.monotonic() + _AGAIN_S


def _complete(command: Command) -> Command:
    """With the environment that it has at home: the launcher's where it differs from the default."""
    env = tuple((key, os.environ.get(key, value)) for key, value in command.env)
    return replace(command, env=env)


def _release(member: Member) -> None:
    """Give its Host back to Ray, which ends it after what it was asked before."""
    member.host, member.heard = None, None


def _said(error: RayError) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(cause).__name__
