"""Laws of the way to trackers: training never waits for one, and what it did not get is said."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from learner.report.metrics import Metrics
from learner.tracking import following, mirror
from tests.support.tracked import tracked
from tests.support.wandb_records import offline_records

ONLINE = "wandb.mode=online"
KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account of whoever runs this, and a server that is none."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # no .env file


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that others use, wandb alone takes long to start."""
    monkeypatch.setattr(mirror, "FINISH_TIMEOUT_S", 60.0)


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accepts and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


def record(run_dir: Path, *words: str, points: int = 5) -> float:
    """Log points at once; how long `close` then took."""
    metrics = Metrics(tracked(run_dir, *words))
    for frames in range(points):
        metrics.log({"frames": frames, "success_base": 0.4})
    begin_s = time.monotonic()
    metrics.close()
    return time.monotonic() - begin_s


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def kept(run_dir: Path) -> int:
    """Points in what wandb kept for later."""
    return len(offline_records(run_dir, "history", count=5))


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Instead of wandb."""
    package = tmp_path / "pretended" / "learner" / "tracking"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").touch()
    (package / "wandb_process.py").write_text(f"import sys, time\n{program}\n")
    monkeypatch.setattr(mirror, "_ROOT", tmp_path / "pretended")


def test_without_a_network_a_run_ends_in_time_and_says_how_to_send_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    took_s = record(tmp_path / "run", ONLINE)
    assert took_s < mirror.FINISH_TIMEOUT_S + 1.0
    line = said(caplog)[0]
    if len(said(caplog)) == 1 and "wandb sync" in line:  # else the machine is very busy
        assert line.startswith("W&B is not available (ConnectionRefusedError [Errno 111] Connection refused)")
        assert Path(line.rpartition(" ")[2]).is_dir()
        assert kept(tmp_path / "run") == 5


@pytest.mark.slow
def test_a_server_that_never_replies_is_given_up_and_the_run_kept(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    silent_server: None,
    patient: None,
) -> None:
    monkeypatch.setattr(mirror, "START_TIMEOUT_S", 10.0)
    with Metrics(tracked(tmp_path / "run", ONLINE)) as metrics:
        for frames in range(5):
            metrics.log({"frames": frames})
        deadline_s = time.monotonic() + 60.0
        while not said(caplog):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    assert "to send it: wandb sync" in said(caplog)[0]
    assert kept(tmp_path / "run") == 5


@pytest.mark.parametrize(
    ("key", "says"),
    [
        # github.com/wandb/wandb: "api_key not configured (no-tty)", the most frequent report of all.
        (None, "No API key configured"),
        ("short", "API key must have"),
        (f"{KEY} ", "cannot start or end with whitespace"),
    ],
)
@pytest.mark.slow
def test_a_key_that_wandb_refuses_keeps_the_run_offline(
    key: str | None,
    says: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    silent_server: None,
    patient: None,
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    record(tmp_path / "run", ONLINE)
    [line] = said(caplog)
    assert says in line and "wandb sync" in line
    assert kept(tmp_path / "run") == 5


def test_what_wandb_did_not_finish_in_time_is_said_with_the_command_that_sends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # github.com/wandb/wandb/issues/5601: finish() hangs in some of many runs.
    started = tmp_path / "started"
    program = f"print('+', '/runs/my run/wandb/run-1', flush=True); open('{started}', 'w'); time.sleep(600)"
    pretend(monkeypatch, tmp_path, program)
    monkeypatch.setattr(mirror, "FINISH_TIMEOUT_S", 1.0)
    monkeypatch.setattr(mirror, "_OFFLINE_S", 0.0)
    with Metrics(tracked(tmp_path / "run", ONLINE)) as metrics:
        metrics.log({"frames": 1})
        while not started.exists():
            time.sleep(0.01)
    assert said(caplog) == [
        f"W&B has not got everything ({tmp_path}/run/metrics.jsonl has): "
        "to send it: wandb sync '/runs/my run/wandb/run-1'"
    ]


def test_wandb_that_dies_or_never_starts_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # github.com/wandb/wandb/issues/4155: the backend process has shut down.
    pretend(monkeypatch, tmp_path, "print('- CommError no server', flush=True)")
    record(tmp_path / "run", ONLINE)
    [line] = said(caplog)
    assert line == f"nothing goes to W&B (CommError no server): {tmp_path}/run/metrics.jsonl has every point"


def test_a_run_without_frames_starts_no_wandb(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, tmp_path, "print('- was started', flush=True)")
    Metrics(tracked(tmp_path / "run", ONLINE)).close()
    assert said(caplog) == []


def test_the_program_ends_by_itself_when_its_learner_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(read) as source:
        monkeypatch.setattr("sys.stdin", source)
        ends: list[int] = []
        monkeypatch.setattr(os, "_exit", ends.append)
        ended = following.end_of_input(patience_s=0.0)
        assert not ended.wait(0.1)
        os.close(write)
        assert ended.wait(10.0)
        while not ends:
            time.sleep(0.01)
    assert ends == [1]
