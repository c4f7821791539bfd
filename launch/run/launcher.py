"""One run on this machine: a learner, its actors and an evaluator, from start to summary.

    bash launch/start.sh [key=value ...]

    learner.total_frames=20000    end earlier              actor.count=4    four actor processes
    name=my-run                   the folder under runs/   seed=1           another training seed
    wire.experience_port=6588 wire.weights_port=6589       other ports

Every key of config/ can be set like this. With a terminal and tmux the run lives in a tmux session:
Ctrl-C in its first pane ends the run, Ctrl-B D leaves it running. Without, its lines appear here.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Sequence

from actor.policy.dimensions import dimensions_of
from config.main import Config
from config.process import USAGE_ERROR, compose_config, show_help, wants_help
from config.section import ConfigError
from config.spaces import spaces_of
from config.task import TaskConfig
from config.wire import WireConfig
from launch.run import tmux
from launch.run.folder import describe_summary, read_summary
from launch.run.processes import Command
from launch.run.supervisor import StopSignal, supervise

log = logging.getLogger("launch")


def check_run(config: Config) -> None:
    """Raise ConfigError for what one process alone cannot see."""
    if config.actor.id is not None and config.actor.count > 1:
        raise ConfigError(
            f"configuration: actor.id={config.actor.id} cannot name {config.actor.count} actors: "
            "leave it out, or set actor.count=1"
        )


def size_overrides(task: TaskConfig) -> list[str]:
    """What its processes are told of a task that config/spaces.yaml does not know, so that each need not ask.

    Raises:
        ConfigError: its sizes are not to be had.
    """
    known = spaces_of(task)
    if task.sizes is not None or known.absolute or known.action_dim is not None:
        return []
    log.info("asking ManiSkill for the sizes of %s", task.env_id)
    sizes = dimensions_of(task)
    log.info("%s has %d observation and %d action numbers", task.env_id, *sizes)
    return [f"task.sizes=[{sizes.observation_dim},{sizes.action_dim}]"]


def busy_port(wire: WireConfig) -> str | None:
    """Why the learner could not bind, in one line; None where both ports are free."""
    host = "0.0.0.0" if wire.host == "*" else wire.host
    for key in ("experience_port", "weights_port"):
        port: int = getattr(wire, key)
        try:
            # Closed at once: the learner binds it for good.
            socket.create_server((host, port)).close()
        except OSError as error:
            return (
                f"wire.{key}={port} on {host} cannot be used: {error.strerror} "
                f"(another run? choose other ports: wire.experience_port=<port> wire.weights_port=<port>)"
            )
    return None


def make_commands(config: Config, overrides: Sequence[str]) -> list[Command]:
    """What a run consists of. Everybody gets the same overrides and the same run name."""

    def command(name: str, role: str, module: str, threads: int, *more: str) -> Command:
        argv = (sys.executable, "-m", module, *overrides, f"name={config.name}", *more)
        # Simulator workers load torch too, and each would start a thread for every core.
        env = {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
        return Command(name, role, argv, tuple((k, v) for k, v in env.items() if k not in os.environ))

    actor = config.actor
    return [
        command("learner", "learner", "learner", config.learner.threads),
        *(
            command(f"actor-{index}", "actor", "actor", actor.threads, f"actor.index={index}")
            for index in range(actor.index, actor.index + actor.count)
        ),
        command("evaluator", "evaluator", "actor.evaluate", actor.threads),
    ]


def run_here(config: Config, overrides: Sequence[str], stop: StopSignal, quiet: bool) -> int:
    """Start everybody, wait for the end, show the summary; returns the exit code."""
    log.info("run %s: %s", config.name, config.run_dir)

    def echo(name: str, line: str) -> None:
        if not quiet:
            sys.stdout.write(f"{name:<9} | {line}\n")
            sys.stdout.flush()

    # A folder that is used again may hold an older summary.
    begin = time.time()
    code = supervise(make_commands(config, overrides), config.run_dir / "logs", stop, echo)
    summary = read_summary(config.run_dir, newer_than=begin - 1.0)
    if code == 0 and summary is not None:
        log.info("%s", describe_summary(config.run_dir, summary))
    elif code == 0:
        log.error("the learner ended without %s", config.run_dir / "summary.json")
        return 1
    else:
        log.error("run %s ended early (exit code %d); its folder: %s", config.name, code, config.run_dir)
    return code


def run_in_tmux(config: Config, overrides: Sequence[str]) -> int:
    """The same inside a tmux session; returns when it ends or the person detaches."""
    session = tmux.Session(f"residual-rl-{config.name}")
    supervisor = (sys.executable, "-m", "launch.run", *overrides, f"name={config.name}")
    actors = [f"{c.name}.log" for c in make_commands(config, overrides) if c.role == "actor"]
    (config.run_dir / "logs").mkdir(parents=True, exist_ok=True)
    code_file = config.run_dir / "logs" / "exit_code"
    for earlier in (code_file, config.run_dir / "logs" / "launch.log"):
        earlier.unlink(missing_ok=True)
    try:
        session.start(supervisor, tmux.panes_for(config.run_dir, actors), tmux.monitor_for(config.run_dir))
    except RuntimeError as error:
        log.error("%s", error)
        return 1
    if session.attach():
        log.info("run %s goes on; see it again: tmux -L %s attach", config.name, session.socket)
        return 0
    report = config.run_dir / "logs" / "launch.log"
    if report.is_file():
        sys.stdout.write(report.read_text())
    if code_file.is_file():
        return int(code_file.read_text())
    log.error("the run's first pane was killed: its processes end by themselves; resume=must goes on with it")
    return 1


def run_inside_tmux(config: Config, overrides: Sequence[str], stop: StopSignal) -> int:
    """The supervisor in the session's first pane: leaves its report and its exit code in files."""
    logs = config.run_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    report = logging.FileHandler(logs / "launch.log", mode="w")
    report.setFormatter(logging.Formatter("%(name)-9s | %(message)s"))
    log.addHandler(report)
    try:
        code = run_here(config, overrides, stop, quiet=True)
        (logs / "exit_code").write_text(f"{code}\n")
    finally:
        tmux.Session(os.environ[tmux.SOCKET_VARIABLE]).kill()
    return code


def configure_logging() -> None:
    """Prefixed lines: reports to standard output, errors to standard error."""
    for stream, shown in (
        (sys.stdout, lambda record: record.levelno < logging.WARNING),
        (sys.stderr, lambda record: record.levelno >= logging.WARNING),
    ):
        handler = logging.StreamHandler(stream)
        handler.addFilter(shown)
        handler.setFormatter(logging.Formatter("%(name)-9s | %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)


def main(overrides: Sequence[str]) -> int:
    """Returns 0 for a whole run, 2 for a configuration that cannot be used, else an error's code."""
    configure_logging()
    if wants_help(overrides):
        return show_help(__doc__ or "")
    stop = StopSignal()
    try:
        config = compose_config(overrides)
        check_run(config)
        if (trouble := busy_port(config.wire)) is not None:
            log.error("%s", trouble)
            return 1
        overrides = [*overrides, *size_overrides(config.task)]
    except ConfigError as error:
        log.error("%s", error)
        return USAGE_ERROR
    if tmux.SOCKET_VARIABLE in os.environ:
        return run_inside_tmux(config, overrides, stop)
    if tmux.usable():
        return run_in_tmux(config, overrides)
    return run_here(config, overrides, stop, quiet=False)
