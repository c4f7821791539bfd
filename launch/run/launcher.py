"""One run on this machine: a learner, its actors and an evaluator, from start to summary.

With a terminal and tmux the run lives in a tmux session: a monitor, and below it the lines of all processes.
Ctrl-C in either ends the run, Ctrl-B D leaves it running. Without tmux the lines appear here.
"""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from config.compose import write_config
from config.files import locked, name_holder
from config.main import Config
from config.process import DONE, FAILED, FailedError, StopRequest, stop_on_signals
from launch.run import tmux
from launch.run.films import make_films
from launch.run.folder import MetricsReader, describe_summary, read_summary, wrapped
from launch.run.inputs import require_inputs
from launch.run.machine import write_machine
from launch.run.processes import Command, Team
from launch.run.startable import LaunchError, startable
from launch.run.supervisor import Members, supervise
from learner.folder import LAUNCHER, RunError, make_run_dir, sole_learner
from learner.tracking.results import say_how_to_send, send_results

log = logging.getLogger("launch")


def launch(config: Config) -> int:
    """One run; returns its exit code: 0 for a whole run, else that of what went wrong.
    Raises UsageError of several kinds: it cannot be started like this."""
    stop = stop_on_signals()
    config = startable(config)
    if tmux.SOCKET_VARIABLE in os.environ:
        with sole_launcher(config):
            return run_inside_tmux(config, write_launch_file(config), stop)
    require_inputs(config, stop)
    if stop.is_set():
        return stop.exit_code
    with sole_starter(config):
        with sole_launcher(config):
            launch_file = write_launch_file(config)
            note_machine(config, sys.argv[1:])
            if not tmux.usable():
                return run_here(config, launch_file, stop)
        return run_in_tmux(config, launch_file)


@contextlib.contextmanager
def sole_starter(config: Config) -> Generator[None]:
    """Lock the run's folder against others who would start the run, until this process ends: the launcher
    inside tmux takes its own lock only after a while.
    Raises RunError: another starts or runs it, or the learner could not use the folder."""
    run_dir = make_run_dir(config)
    with locked(run_dir, _taken(run_dir)):
        yield


@contextlib.contextmanager
def sole_launcher(config: Config) -> Generator[None]:
    """Lock the run's folder against other launchers, from before its launch.yaml is written to the run's end.
    Raises RunError: another launcher or learner uses it, or the learner could not use it."""
    run_dir = make_run_dir(config)
    with sole_learner(run_dir):
        pass
    place = run_dir / LAUNCHER
    place.touch()
    with locked(place, _taken(run_dir)):
        name_holder(place)
        yield


def _taken(run_dir: Path) -> RunError:
    return RunError(f"{run_dir} is in use by another launcher: choose another name=<run>, or end that one")


def write_launch_file(config: Config) -> Path:
    """The configuration that every process of the run reads. `config.yaml` beside it is the learner's: it
    tells that a run has begun here, and with which configuration."""
    path = config.run_dir / "launch.yaml"
    try:
        write_config(path, config)
    except OSError as error:
        raise LaunchError(f"{path} cannot be written: {error.strerror}") from error
    return path.resolve()


def note_machine(config: Config, argv: Sequence[str]) -> None:
    """Write down which code, packages and machine this start of the run has, and its command."""
    try:
        write_machine(config.run_dir, argv)
    except OSError as error:
        raise LaunchError(f"{config.run_dir}/machine.json cannot be written: {error.strerror}") from error


def make_commands(config: Config, launch_file: Path) -> list[Command]:
    """The processes of a run. All read the same file; an actor is told its index."""

    def command(name: str, role: str, module: str, threads: int, *more: str) -> Command:
        argv = (sys.executable, "-m", module, "--config", str(launch_file), *more)
        # Simulator workers load torch too, and each would start a thread for every core.
        env = {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
        return Command(name, role, argv, tuple((k, v) for k, v in env.items() if k not in os.environ))

    actor = config.actor
    return [
        command("learner", "learner", "learner", config.learner.threads),
        *(
            command(f"actor-{index}", "actor", "actor", actor.threads, "--index", str(index))
            for index in range(actor.index, actor.index + actor.count)
        ),
        *(
            [command("evaluator", "evaluator", "actor.evaluate", actor.threads)]
            if config.algo.is_evaluated
            else []
        ),
        Command("page", "page", _page_argv(config)),
    ]


def _page_argv(config: Config) -> tuple[str, ...]:
    """Serves the run's page and writes its report, or the report alone."""
    program, port = (sys.executable, "-m", "launch"), config.page.port
    run_dir = f"{config.runs_dir}/{config.name}"
    if port is None:
        return (*program, "report", run_dir, "--follow")
    return (*program, "page", run_dir, "--port", str(port), "--with-run")


Echo = Callable[[str, str], None]


def to_stdout(name: str, line: str) -> None:
    """Show a line of a process."""
    prefix = f"{name:<9} | "
    terminal = sys.stdout.isatty()
    shown = wrapped(line, prefix, shutil.get_terminal_size().columns) if terminal else [prefix + line]
    sys.stdout.write("\n".join(shown) + "\n")
    sys.stdout.flush()


def run_here(
    config: Config,
    launch_file: Path,
    stop: StopRequest,
    make_team: Callable[[Path, Echo], Members] = Team,
    echo: Echo = to_stdout,
) -> int:
    """Start all processes, wait for the end, show the summary; returns the exit code.
    `make_team` gets the folder of logs, and `echo`, which shows a line of a process."""
    log.info("run %s: %s", config.name, config.run_dir)
    points = MetricsReader(config.run_dir)
    points.read()  # those of an earlier process

    def has_experience() -> bool:
        # What an evaluator imports and builds would delay the first frames.
        return any(point.get("frames") for point in points.read())

    commands, logs = make_commands(config, launch_file), config.run_dir / "logs"
    code = supervise(commands, make_team(logs, echo), stop, may_evaluate=has_experience)
    summary = read_summary(config.run_dir)  # not an older one: a folder that has one is refused
    if code == DONE and summary is not None:
        log.info("%s", describe_summary(config.run_dir, summary))
        make_films(config, logs, stop, echo)
        send_results(config.run_dir, config, stop, log)
    elif code == DONE:
        log.error("the learner ended without %s", config.run_dir / "summary.json")
        return FAILED
    else:
        say_how_to_send(config.run_dir, log)
        log.error(
            "run %s ended early (exit code %d); its folder: %s; to go on: the same command with name=%s",
            config.name, code, config.run_dir, config.name,
        )  # fmt: skip
    return code


def run_in_tmux(config: Config, launch_file: Path) -> int:
    """The same inside a tmux session; returns when it ends or the person detaches."""
    session = tmux.Session(f"residual-rl-{config.name}")
    supervisor = (sys.executable, "-m", "launch", "run", "--config", str(launch_file))
    monitor = (sys.executable, "-m", "launch", "monitor", f"{config.runs_dir}/{config.name}")
    logs = config.run_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    code_file, report = logs / "exit_code", logs / "launch.log"
    for earlier in (code_file, report):
        earlier.unlink(missing_ok=True)
    try:
        session.start(supervisor, monitor)
    except RuntimeError as error:
        raise LaunchError(str(error)) from error
    if session.attach():
        log.info("run %s goes on; see it again: tmux -L %s attach", config.name, session.socket)
        return DONE
    if report.is_file():
        sys.stdout.write(report.read_text())
    if code_file.is_file():
        return int(code_file.read_text())
    raise FailedError(
        "the pane with the run's lines was killed: its processes end by themselves; "
        "resume=must goes on with it"
    )


def run_inside_tmux(config: Config, launch_file: Path, stop: StopRequest) -> int:
    """The supervisor in the session's first pane: leaves its report and its exit code in files."""
    logs = config.run_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    report = logging.FileHandler(logs / "launch.log", mode="w")
    report.setFormatter(logging.Formatter("launch    | %(message)s"))
    log.addHandler(report)
    try:
        code = run_here(config, launch_file, stop)
        (logs / "exit_code").write_text(f"{code}\n")
    finally:
        tmux.Session(os.environ[tmux.SOCKET_VARIABLE]).kill()
    return code
