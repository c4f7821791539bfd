"""Watches the processes of a run: which may end when, and what the others do then."""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from config.process import StopRequest
from launch.run.processes import Command, Ended

log = logging.getLogger("launch")


class Members(Protocol):
    """The processes of a run, wherever they are: see `launch.run.processes.Team`."""

    def start(self, command: Command) -> None: ...

    def alive(self, role: str | None = None) -> list[Command]: ...

    def pump(self, timeout_s: float) -> list[Ended]: ...

    def end(self) -> object: ...


def supervise(
    commands: Sequence[Command],
    team: Members,
    stop: StopRequest,
    grace_s: float = 30.0,
    may_evaluate: Callable[[], bool] = lambda: True,
) -> int:
    """Run a learner, its actors, evaluators and page until the learner ends; nothing is left running.

    `team` starts them and passes on what they write. Evaluators start once `may_evaluate` says so. Once the
    learner ended well, the others have `grace_s` seconds to end by themselves. Returns the exit code of the
    run: 0 when the learner and the evaluators ended well, 128 + signal when stopped, else the error's.
    """
    later = [command for command in commands if command.role == "evaluator"]
    try:
        for command in commands:
            if command not in later:
                team.start(command)
        return _watch(team, stop, grace_s, later, may_evaluate)
    finally:
        if team.alive():
            log.info("ending %s", ", ".join(command.name for command in team.alive()))
            team.end()


def _watch(
    team: Members, stop: StopRequest, grace_s: float, later: list[Command], may_evaluate: Callable[[], bool]
) -> int:
    code_at_end = 0
    while not stop.is_set():
        if later and may_evaluate():
            team.start(later.pop(0))
        for ended in team.pump(0.1):
            _report(ended)
            match ended.command.role:
                case "learner" if ended.code:
                    return ended.code
                case "learner":
                    return _wait_for_others(team, stop, grace_s) or code_at_end
                case "actor" if ended.code and not team.alive("actor"):
                    log.error("no actor is left: ending the run")
                    return ended.code
                case "evaluator" if ended.code:
                    # Hours of training are worth more than its figures; the exit code tells.
                    log.error("training goes on without evaluations by %s", ended.command.name)
                    code_at_end = ended.code
    return _stopped(stop)


def _wait_for_others(team: Members, stop: StopRequest, grace_s: float) -> int:
    deadline = time.monotonic() + grace_s
    while team.alive() and not stop.is_set() and time.monotonic() < deadline:
        for ended in team.pump(0.1):
            _report(ended)
    return _stopped(stop) if stop.is_set() else 0


def _stopped(stop: StopRequest) -> int:
    log.info("%s: ending the run", signal.Signals(stop.signal or signal.SIGTERM).name)
    return stop.exit_code


def _report(ended: Ended) -> None:
    if ended.code == 128 + signal.SIGKILL:
        log.error("%s was killed: by a person, or by the system because memory was short", ended.command.name)
    elif ended.code:
        said = f": {ended.error}" if ended.error else ""
        log.error("%s ended with exit code %d%s", ended.command.name, ended.code, said)
    else:
        log.info("%s ended", ended.command.name)
