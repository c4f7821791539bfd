"""Laws of a run's start and end: clear refusals, and nothing left running whoever dies first."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from config.compose import asked_config, compose_config, read_config
from config.main import Config
from config.process import StopRequest
from launch.run.guard import PATIENCE_S
from launch.run.launcher import make_commands, sole_launcher, sole_starter, write_launch_file
from launch.run.processes import Command
from launch.run.supervisor import supervise
from learner.folder import make_run_dir, sole_learner

# A supervisor with children that are given as (name, role, Python source).
SUPERVISOR = """
import json, logging, pathlib, sys
from launch.run.processes import Command
from config.process import stop_on_signals
from launch.run.supervisor import supervise
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s | %(message)s")
commands = [Command(n, r, (sys.executable, "-u", "-c", s)) for n, r, s in json.loads(sys.argv[1])]
echo = lambda name, line: print(f"{name} | {line}", flush=True)
sys.exit(supervise(commands, pathlib.Path(sys.argv[2]), stop_on_signals(), echo, grace_s=0.5))
"""

SAY_PID = "import os, pathlib, signal, sys, time; pathlib.Path({folder!r}, str(os.getpid())).touch(); "
WAIT = "print('up'); time.sleep(60)"
STUBBORN = (
    "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAIT
)
POLITE = "signal.signal(signal.SIGTERM, lambda *_: (print('clean end'), sys.exit(0))); " + WAIT
# A worker that would outlive its parent, as a simulator's do.
WITH_WORKER = (
    "os.fork() or (pathlib.Path({folder!r}, str(os.getpid())).touch(), "
    "signal.signal(signal.SIGINT, signal.SIG_IGN), time.sleep(60)); "
)


class Run:
    """A supervisor in a process of its own, and the process ids of everybody below it."""

    def __init__(self, folder: Path, children: list[tuple[str, str, str]]) -> None:
        self.pids = folder / "pids"
        self.pids.mkdir()
        sources = [(n, r, (SAY_PID + s).replace("{folder!r}", repr(str(self.pids)))) for n, r, s in children]
        self.expected = len(children) + sum("os.fork" in s for _, _, s in sources)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, json.dumps(sources), str(folder / "logs")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Under nohup this process ignores SIGHUP, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    def wait_until_up(self) -> None:
        wait_for(lambda: len(list(self.pids.iterdir())) >= self.expected, "every child runs")

    def finish(self) -> tuple[int, str]:
        """Exit code and output; fails unless everybody below is gone then."""
        output, _ = self.process.communicate(timeout=20)
        wait_for(lambda: not self.left(), "nobody is left running")
        return self.process.returncode, output

    def left(self) -> list[int]:
        return [pid for path in self.pids.iterdir() if is_running(pid := int(path.name))]


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(**children: str) -> Run:
        runs.append(Run(tmp_path, [(n, n.partition("_")[0], source) for n, source in children.items()]))
        return runs[-1]

    yield begin
    for run in runs:
        for pid in (*run.left(), *([run.process.pid] if run.process.poll() is None else [])):
            os.kill(pid, signal.SIGKILL)


def test_others_end_after_the_learner_ended_well(start: Callable[..., Run], tmp_path: Path) -> None:
    ends = "print('done'); time.sleep(0.3)"
    code, output = start(learner=ends, actor=ends, evaluator=ends).finish()
    assert code == 0
    assert "learner | done" in output
    assert (tmp_path / "logs" / "actor.log").read_text() == "done\n"


def test_actor_that_stays_after_the_end_is_ended(start: Callable[..., Run]) -> None:
    code, output = start(learner="time.sleep(0.5)", actor=POLITE, evaluator="pass").finish()
    assert code == 0
    assert "actor | clean end" in output


def test_learner_that_dies_takes_everybody_along_with_its_code(start: Callable[..., Run]) -> None:
    run = start(learner="time.sleep(0.5); sys.exit('no such checkpoint')", actor=POLITE, evaluator=POLITE)
    code, output = run.finish()
    assert code == 1
    assert "learner | no such checkpoint" in output
    assert "learner ended with exit code 1" in output


def test_last_actor_that_dies_ends_the_run(start: Callable[..., Run]) -> None:
    run = start(learner=POLITE, actor_0="sys.exit(3)", actor_1="time.sleep(0.5); sys.exit(4)")
    code, output = run.finish()
    assert code in (3, 4)
    assert "no actor is left" in output


def test_what_ended_the_last_actor_is_said_with_the_runs_end(start: Callable[..., Run]) -> None:
    run = start(learner=POLITE, actor="sys.exit('error: task.env_id=Odd-v1 reports no success')")
    code, output = run.finish()
    assert code == 1
    assert "launch | actor ended with exit code 1: task.env_id=Odd-v1 reports no success" in output


def test_run_goes_on_while_another_actor_lives(start: Callable[..., Run]) -> None:
    run = start(learner="time.sleep(1.5); print('done')", actor_0="sys.exit(3)", actor_1=POLITE)
    code, output = run.finish()
    assert code == 0
    assert "actor_0 ended with exit code 3" in output


def test_training_outlives_the_evaluator_but_the_exit_code_tells(start: Callable[..., Run]) -> None:
    run = start(learner="time.sleep(1); print('trained')", actor=POLITE, evaluator="sys.exit(5)")
    code, output = run.finish()
    assert code == 5
    assert "learner | trained" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_everybody(number: int, start: Callable[..., Run]) -> None:
    run = start(learner=POLITE, actor=POLITE, evaluator=POLITE)
    run.wait_until_up()
    wait_for(
        lambda: all((run.pids.parent / "logs" / f"{n}.log").read_text() for n in ("learner", "actor")), "up"
    )
    run.process.send_signal(number)
    code, output = run.finish()
    assert code == 128 + number
    assert "learner | clean end" in output


def test_children_that_are_still_importing_end_without_a_trace(start: Callable[..., Run]) -> None:
    run = start(learner=WAIT, actor=WAIT)  # catches no signal, as before the imports are over
    run.wait_until_up()
    run.process.send_signal(signal.SIGINT)
    assert "Traceback" not in run.finish()[1]


def test_child_that_ignores_signals_is_gone_within_ten_seconds(start: Callable[..., Run]) -> None:
    run = start(learner=STUBBORN, actor=POLITE)
    run.wait_until_up()
    begin = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    code, _ = run.finish()
    assert code == 128 + signal.SIGINT
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(1)", "pass"])
def test_workers_of_a_dead_child_are_gone(end: str, start: Callable[..., Run]) -> None:
    code, _ = start(learner="time.sleep(2)", actor=WITH_WORKER + "time.sleep(0.5); " + end).finish()
    assert code == (0 if end == "pass" else {"sys.exit(1)": 1}.get(end, 128 + signal.SIGKILL))


@pytest.mark.parametrize("child", [WAIT, WITH_WORKER + WAIT, WITH_WORKER + STUBBORN])
def test_killed_supervisor_leaves_nobody(child: str, start: Callable[..., Run]) -> None:
    run = start(learner=WAIT, actor=child)
    run.wait_until_up()
    run.process.kill()
    assert run.process.wait(20) == -signal.SIGKILL
    wait_for(lambda: not run.left(), "nobody is left running", timeout_s=PATIENCE_S + 10)


def test_the_guard_ends_with_the_last_child(start: Callable[..., Run]) -> None:
    # The guard is the supervisor's only other child (no `ps`: a fresh machine may have none).
    look = (
        "import psutil; me = psutil.Process(); "
        "print('beside', *(c.pid for c in me.parent().children() if c.pid != me.pid))"
    )
    run = start(learner=look)
    code, output = run.finish()
    [guard] = [int(pid) for line in output.splitlines() if "beside" in line for pid in line.split()[3:]]
    assert code == 0
    assert not is_running(guard)


# --- the command itself ------------------------------------------------------------------------


def launch(repository: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "launch", "run", *overrides]
    return subprocess.run(words, cwd=repository, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("learner.speed=3", "learner.speed"),
        ("learner.total_frames=0", "total_frames must be at least 1, got 0"),
        ("task=juggling", "task/juggling"),
        ("name=../elsewhere", "'../elsewhere'"),
        ("nonsense", "nonsense"),
    ],
)
def test_unusable_configuration_is_one_line_and_exit_2(override: str, said: str, repository: Path) -> None:
    ended = launch(repository, override)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.parametrize("key", ["experience_port", "weights_port"])
def test_port_in_use_is_one_line_and_starts_nothing(
    key: str, repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", free_ports[0])):
        other = "weights_port" if key == "experience_port" else "experience_port"
        ended = launch(
            repository,
            f"runs_dir={tmp_path}/runs",
            f"wire.{key}={free_ports[0]}",
            f"wire.{other}={free_ports[1]}",
        )
    assert ended.returncode == 2
    assert f"wire.{key}={free_ports[0]} on 127.0.0.1 is in use (another run?)" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_that_goes_on_keeps_its_launch_file(
    repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    words = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")
    config = compose_config([f"runs_dir={tmp_path}", "name=one"])
    place = write_launch_file(config)
    with sole_learner(make_run_dir(config)):
        ended = launch(repository, f"runs_dir={tmp_path}", "name=one", "seed=7", *words)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "is in use by another learner" in ended.stderr
    assert read_config(place) == config


def test_a_second_launcher_of_a_name_is_refused_before_it_writes_anything(
    repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    words = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")
    config = compose_config([f"runs_dir={tmp_path}", "name=one"])
    with sole_launcher(config):
        place = write_launch_file(config)
        ended = launch(repository, f"runs_dir={tmp_path}", "name=one", "seed=7", *words)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "is in use by another launcher" in ended.stderr
    assert read_config(place) == config


def test_a_second_launcher_is_refused_while_the_first_waits_for_the_one_inside_tmux(
    repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    words = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")
    config = compose_config([f"runs_dir={tmp_path}", "name=one"])
    with sole_starter(config):
        place = write_launch_file(config)
        ended = launch(repository, f"runs_dir={tmp_path}", "name=one", "seed=7", *words)
        # The one inside.
        with sole_launcher(config):
            pass
    assert ended.returncode == 2 and "is in use by another launcher" in ended.stderr
    assert read_config(place) == config


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("base.path=bases/nope", "no folder bases/nope with a base"),
        ("learner.demos=bases", "learner.demos: no demonstrations at bases"),
        (
            "learner.demos=bases/StackCube-v1/demos.h5",
            "has observation_dim 48 and action_dim 7, the task 42",
        ),
        ("learner.device=cuda:77", "learner.device=cuda:77 cannot be used: "),
        ("task.control_mode=pd_joint_pos", "task.control_mode=pd_joint_pos has actions outside [-1, 1]"),
        ("runs_dir=/proc/x", "/proc/x/"),
    ],
)
def test_what_a_run_needs_and_is_not_there_starts_nothing(
    override: str, said: str, repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    words = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")
    ended = launch(repository, f"runs_dir={tmp_path}/runs", override, *words)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1) and said in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_used_is_one_line(
    repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    words = (f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}")
    ended = launch(repository, f"runs_dir={tmp_path / 'file'}", "name=one", *words)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path / 'file' / 'one'} cannot be written: {tmp_path / 'file'} is no folder" in ended.stderr
    assert "choose another runs_dir=<folder>" in ended.stderr


def test_lines_are_shown_when_the_disk_is_full(tmp_path: Path) -> None:
    (tmp_path / "one.log").symlink_to("/dev/full")
    said: list[str] = []
    command = Command("one", "learner", (sys.executable, "-c", "print('up')"))
    assert supervise([command], tmp_path, StopRequest(), lambda name, line: said.append(line)) == 0
    assert said == ["up"]


def test_an_evaluator_starts_once_it_may(tmp_path: Path) -> None:
    may = tmp_path / "may"
    learner = f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(may)!r}).touch(); time.sleep(0.5)"
    evaluator = f"import pathlib; print('allowed', pathlib.Path({str(may)!r}).exists())"
    commands = [
        Command(role, role, (sys.executable, "-c", code))
        for role, code in (("evaluator", evaluator), ("learner", learner))
    ]
    said: list[str] = []

    def echo(_: str, line: str) -> None:
        said.append(line)

    assert supervise(commands, tmp_path, StopRequest(), echo, may_evaluate=may.exists) == 0
    assert said == ["allowed True"]


def test_everybody_reads_the_one_file_and_actors_get_their_index(tmp_path: Path) -> None:
    config = compose_config([f"runs_dir={tmp_path}", "name=one", "actor.count=2", "seed=7"])
    commands = make_commands(config, write_launch_file(config))
    assert [c.name for c in commands] == ["learner", "actor-0", "actor-1", "evaluator", "page"]
    read = [asked_config(c.argv[3:]) for c in commands if c.role != "page"]
    assert read == [config, config, replaced_index(config, 1), config]


def replaced_index(config: Config, index: int) -> Config:
    return msgspec.structs.replace(config, actor=msgspec.structs.replace(config.actor, index=index))


def test_environment_that_is_ready_starts_neither_python_nor_an_installer_and_an_extra_is_compiled(
    tmp_path: Path, repository: Path
) -> None:
    shutil.copytree(repository / "launch", tmp_path / "launch")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(repository / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "python3", "python3.12", "python3.13", "uv", "pip"):
        (tmp_path / ".venv" / "bin" / name).write_text(
            f"#!/bin/sh\necho {name} compiles $UV_COMPILE_BYTECODE >> {tmp_path}/started\n"
        )
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    stamp = subprocess.run(
        "{ pwd && cat requirements.lock pyproject.toml; } | sha256sum | cut -d ' ' -f 1",
        shell=True, cwd=tmp_path, capture_output=True, text=True,
    ).stdout  # fmt: skip
    (tmp_path / ".venv" / "stamp").write_text(stamp)

    def set_up(*words: str) -> tuple[int, str, str]:
        ended = subprocess.run(
            ["bash", str(tmp_path / "launch" / "setup_env.sh"), *words], capture_output=True, text=True,
            env={**os.environ, "PATH": f"{tmp_path}/.venv/bin:{os.environ['PATH']}"},
        )  # fmt: skip
        return ended.returncode, ended.stdout, ended.stderr

    assert set_up() == (0, "", "")
    assert not (tmp_path / "started").exists()
    # What stands there in their place would have noticed.
    assert set_up("bench") == (0, "setup | adding the extra bench\n", "")
    assert (tmp_path / "started").read_text() == "uv compiles 1\n"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")
def test_run_with_a_terminal_lives_in_tmux_and_gives_its_exit_code(
    repository: Path, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    # What the learner alone refuses: the session ends by itself.
    overrides = [
        f"runs_dir={tmp_path}/runs", "name=in-tmux", "learner.robot_state_dim=1000",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
        "algo.prior_fraction=0",
    ]  # fmt: skip
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "TMUX_TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "launch", "run", *overrides],
        cwd=repository, stdin=there, stdout=there, stderr=there, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(there)
    shown = b""
    try:
        while chunk := os.read(here, 4096):
            shown += chunk
    except OSError:
        pass  # how Linux says that the other side of a terminal is gone
    assert process.wait(timeout=30) != 0
    assert b"run in-tmux ended early" in shown
    assert "ended with exit code" in (tmp_path / "runs/in-tmux/logs/launch.log").read_text()
