"""A run as a job of Ray: `ray job submit` to a head that was started by `ray start --head`."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from protocol.channel.keys import KeyFileError, read_pair
from tests.support.ray_cluster import SMALL, family, set_up_ray
from tests.support.runs import wait_for

RAY = (sys.executable, "-m", "ray.scripts.scripts")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nodes keep the keys of a run."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def dashboard(
    scratch: Path,
    tmp_path: Path,
    unused_ports: Iterator[int],
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[subprocess.Popen[str], Path, str]]:
    """The head of a cluster, its folder and the address of its dashboard; nothing of it may be left."""
    set_up_ray(monkeypatch)
    own = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the names of Ray's sockets must be short
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=os.pathsep)
    port, http = next(unused_ports), next(unused_ports)
    words = ["--head", "--block", "--num-cpus=4", f"--object-store-memory={100 << 20}", f"--temp-dir={own}"]
    words += ["--node-ip-address=127.0.0.1", f"--port={port}", "--min-worker-port=0", "--max-worker-port=0"]
    words += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={http}"]
    words += [f"--dashboard-agent-listen-port={next(unused_ports)}"]
    words += [f"--ray-client-server-port={next(unused_ports)}"]
    head = started(tmp_path / "head.log", repository, "start", *words)
    yield head, own, f"http://127.0.0.1:{http}"
    below = family(head.pid)
    head.terminate()
    _, late = psutil.wait_procs(below, timeout=20)
    for process in late:
        process.kill()
    head.wait()
    shutil.rmtree(own)


def started(log: Path, repository: Path, *words: str) -> subprocess.Popen[str]:
    """Ray's command line; what it says goes into a file."""
    with log.open("w") as said:
        return subprocess.Popen(
            [*RAY, *words], cwd=repository, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip


def answers(address: str) -> bool:
    """Whether jobs can be given to a dashboard."""
    asked = subprocess.run([*RAY, "job", "list", f"--address={address}"], capture_output=True)
    return asked.returncode == 0


def keys_in(scratch: Path) -> set[str]:
    """Both halves of the key pairs that processes have there now."""
    found: set[str] = set()
    for path in scratch.glob("residual-rl-*/keys/*.secret"):
        with contextlib.suppress(KeyFileError):  # its process has ended
            pair = read_pair(path)
            found |= {pair.public, pair.secret}
    return found


def command_lines(process: int) -> set[str]:
    lines: set[str] = set()
    for each in family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.add(" ".join(each.cmdline()))
    return lines


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_of_ray_ends_with_a_summary_and_shows_no_key(
    dashboard: tuple[subprocess.Popen[str], Path, str],
    scratch: Path,
    tmp_path: Path,
    free_ports: tuple[int, int],
    repository: Path,
) -> None:
    head, own, address = dashboard
    wait_for(lambda: answers(address), head)
    words = [*SMALL, "name=one", f"runs_dir={tmp_path}", "learner.total_frames=400"]
    words += [f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}"]
    run = ("residual-rl", "run", "cluster=ray", *words)
    job = started(tmp_path / "job.log", repository, "job", "submit", f"--address={address}", "--", *run)
    keys, lines = set[str](), set[str]()
    while job.poll() is None:
        keys |= keys_in(scratch)
        lines |= command_lines(head.pid) | command_lines(job.pid)
        time.sleep(0.5)
    said = (tmp_path / "job.log").read_text()
    assert job.returncode == 0, said
    assert "run one is over" in said
    assert (tmp_path / "one" / "summary.json").exists()
    logs = [path.read_text(errors="replace") for path in own.glob("session_*/logs/**/*") if path.is_file()]
    logs += [path.read_text() for path in (tmp_path / "one" / "logs").iterdir()]
    assert any("-m learner" in line for line in lines) and any("run one is over" in text for text in logs)
    assert len(keys) == 4  # of the learner, and of its clients
    assert not [key for key in keys for text in (said, *lines, *logs) if key in text]
