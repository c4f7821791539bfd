"""What save.sh does: each step saves what it can, and says what it could not."""

import json
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from config.files import locked
from launch.pod import copies
from launch.pod.commits import save_commits
from launch.pod.copies import copy_runs, pack_runs
from launch.pod.offline import sync_offline
from launch.pod.save import save, stop_runs
from tests.support.pod import commit, git
from tests.support.watched_run import start_launcher

WANDB = """
import os, sys
assert sys.argv[1] == "sync", sys.argv
for place in sys.argv[2:]:
    if not place.startswith("-") and os.environ["WANDB_API_KEY"] == "good":
        open(f"{place}/run.wandb.synced", "w").close()
print("sent" if os.environ["WANDB_API_KEY"] == "good" else "wandb: ERROR invalid key")
"""
RSYNC = """#!/bin/sh
for to; do :; done
while [ $# -gt 1 ]; do
    case $1 in
        --rsh=*BatchMode=yes*) asks_nobody=yes ;;
        -*) ;;
        *) [ "$asks_nobody" ] && cp -R "$1" "$to" ;;
    esac
    shift
done
"""


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO")
    return caplog


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one commit, and a remote that has it."""
    project, remote = tmp_path / "project", tmp_path / "remote"
    project.mkdir()
    git(project, "init", "--quiet", "--initial-branch=main")
    (project / "file").write_text("one\n")
    git(project, "add", "file")
    commit(project, "first")
    git(project, "clone", "--quiet", "--bare", str(project), str(remote))
    git(project, "remote", "add", "origin", str(remote))
    git(project, "fetch", "--quiet", "origin")
    return project


def test_commits_that_the_remote_lacks_are_pushed(
    project: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    assert save_commits(project, tmp_path / "commits")
    assert said.messages == ["commits: all are on the remote"]
    git(project, "branch", "other")
    new = commit(project, "second")
    assert save_commits(project, tmp_path / "commits")
    assert said.messages[1:] == ["pushed main to origin: 1 commits", "commits: all are on the remote"]
    assert git(tmp_path / "remote", "rev-parse", "main") == new
    assert not (tmp_path / "commits").exists()


def test_commits_that_cannot_be_pushed_are_in_a_bundle_that_git_reads(
    project: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    old = git(project, "rev-parse", "main")
    shutil.move(tmp_path / "remote", tmp_path / "gone")
    git(project, "checkout", "--quiet", "-b", "other")
    new = commit(project, "second")
    for _ in range(2):  # a second time nothing is lost, and nothing is twice
        assert save_commits(project, tmp_path / "commits")
    [bundle] = (tmp_path / "commits").iterdir()
    assert f"git fetch {bundle}" in said.messages[1]
    assert said.messages[0].startswith("other could not be pushed to origin: fatal: ")
    git(tmp_path / "gone", "fetch", "--quiet", str(bundle), "+refs/heads/*:refs/heads/*")
    assert git(tmp_path / "gone", "rev-parse", "other", "main") == f"{new}\n{old}"


def test_without_a_remote_the_whole_history_is_bundled(project: Path, tmp_path: Path) -> None:
    git(project, "remote", "remove", "origin")
    assert save_commits(project, tmp_path / "commits")
    [bundle] = (tmp_path / "commits").iterdir()
    git(tmp_path, "clone", "--quiet", str(bundle), "again")
    assert (tmp_path / "again" / "file").read_text() == "one\n"


def test_what_is_in_no_commit_is_said(project: Path, tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    (project / "file").write_text("two\n")
    assert not save_commits(project, tmp_path / "commits")
    assert "not saved: changes in no commit, 1 files" in said.messages[-1]
    (tmp_path / "plain").mkdir()
    assert save_commits(tmp_path / "plain", tmp_path / "commits"), "no repository: nothing to save"


def add_run(runs: Path, name: str, text: str = "points\n") -> Path:
    run_dir = runs / name
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "metrics.jsonl").write_text(text)
    return run_dir


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_an_archive_has_what_is_new_since_the_last_one(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    runs, place = tmp_path / "runs", tmp_path / "saved"
    assert pack_runs(runs, place) and said.messages == ["runs: nothing is new"]
    add_run(runs, "one")
    add_run(runs, "two")
    assert pack_runs(runs, place)
    assert names(place / "runs-001.tar") == ["runs/one/metrics.jsonl", "runs/two/metrics.jsonl"]
    shutil.move(place / "runs-001.tar", tmp_path)
    assert pack_runs(runs, place) and not (place / "runs-002.tar").exists()
    add_run(runs, "two", "points\nmore\n")
    (runs / "two" / "summary.json").write_text("{}")
    assert pack_runs(runs, place)
    assert names(place / "runs-002.tar") == ["runs/two/metrics.jsonl", "runs/two/summary.json"]
    shutil.rmtree(runs)
    for archive in (tmp_path / "runs-001.tar", place / "runs-002.tar"):
        shutil.unpack_archive(archive, tmp_path, filter="data")
    assert (runs / "two" / "metrics.jsonl").read_text() == "points\nmore\n"


def test_a_damaged_record_costs_room_and_no_archive(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    runs, place = tmp_path / "runs", tmp_path / "saved"
    add_run(runs, "one")
    assert pack_runs(runs, place)
    first = (place / "runs-001.tar").read_bytes()
    (place / "runs.json").write_text('{"archives"')
    assert pack_runs(runs, place) and "runs.json is damaged" in " ".join(said.messages)
    assert (place / "runs-001.tar").read_bytes() == first
    assert names(place / "runs-002.tar") == ["runs/one/metrics.jsonl"]


def test_an_archive_that_has_no_room_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    add_run(tmp_path / "runs", "one")
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    assert not pack_runs(tmp_path / "runs", tmp_path)
    assert "name another place with SAVE_TO" in said.messages[0] and not list(tmp_path.glob("*.tar*"))


def test_with_a_place_to_save_to_runs_and_bundles_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    folders = [add_run(tmp_path / "runs", "one").parent, tmp_path / "commits"]
    to = tmp_path / "elsewhere"
    assert not copy_runs(folders, str(to))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "rsync").write_text(RSYNC)
    (tmp_path / "rsync").chmod(0o755)
    to.mkdir()
    assert copy_runs(folders, str(to)) and (to / "runs/one/metrics.jsonl").exists()
    (tmp_path / "rsync").write_text("#!/bin/sh\necho 'ssh: no such host' >&2; exit 255\n")
    assert not copy_runs(folders, "nowhere:runs")
    monkeypatch.setenv("PATH", str(to))
    assert not copy_runs(folders, str(to))
    assert [message for message in said.messages if "copied" not in message] == [
        f"the runs are not saved: SAVE_TO={to} is no folder here, and no host:folder",
        "the runs are not all saved in nowhere:runs: ssh: no such host",
        "the runs are not saved: there is no rsync: bash launch/pod/restart.sh installs it",
    ]


def test_offline_runs_are_sent_where_there_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert sync_offline(tmp_path, runs) and said.messages == ["W&B: nothing waits to be sent"]
    for number in (1, 2):
        place = runs / "one" / "wandb" / f"offline-run-{number}"
        place.mkdir(parents=True)
        (place / "run.wandb").touch()
    assert not sync_offline(tmp_path, runs)
    assert "has WANDB_API_KEY: one" in said.messages[1]
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").touch()
    (tmp_path / "wandb" / "__main__.py").write_text(WANDB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / ".env").write_text("WANDB_API_KEY=good\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", "bad")
        assert not sync_offline(tmp_path, runs)
    assert "one is not sent: wandb: ERROR invalid key: wandb sync --append " in said.messages[2]
    assert sync_offline(tmp_path, runs) and said.messages[3] == "W&B: sent one"


def test_runs_are_stopped_as_by_ctrl_c_and_who_cannot_be_is_named(
    tmp_path: Path, repository: Path, said: pytest.LogCaptureFixture
) -> None:
    for name in ("here", "elsewhere"):
        add_run(tmp_path, name)
    assert stop_runs(tmp_path) and stop_runs(tmp_path / "none")
    other = tmp_path / "elsewhere" / "lock"
    other.write_text(f"1 not-{socket.gethostname()}\n")
    with start_launcher(tmp_path / "here", repository) as launcher, locked(other, KeyError()):
        assert not stop_runs(tmp_path)
        assert launcher.wait(30) == 130
    assert "stop it there" in said.messages[0]
    assert said.messages[1:] == [
        f"{tmp_path}/elsewhere still runs: its newest files are not saved, or not whole",
        f"stopped {tmp_path}/here",
    ]


def test_a_step_that_fails_keeps_no_other_from_being_done(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    add_run(project / "runs", "one")
    (project / ".git/info/exclude").write_text("runs/\n")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    place = tmp_path / "saved"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("launch.pod.save.save_commits", fail)
        assert not save(project, place, None)
    assert any(message.startswith("could not save the commits: ") for message in said.messages)
    assert json.loads((place / "runs.json").read_bytes())["files"].keys() == {"one/metrics.jsonl"}
    assert save(project, place, None)


def test_git_and_ssh_ask_nobody(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho "$GIT_TERMINAL_PROMPT $*" >>{tmp_path}/asked\nexit 255\n')
    program.chmod(0o755)
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    git(project, "config", "core.sshCommand", str(program))
    git(project, "remote", "set-url", "origin", "ssh://nobody@example.org/project")
    commit(project, "second")
    assert save_commits(project, tmp_path / "commits")
    lines = (tmp_path / "asked").read_text().splitlines()
    assert lines and all(line.startswith("0 -o BatchMode=yes ") for line in lines)
    assert subprocess.run(["git", "bundle", "verify", "-q", *map(str, (tmp_path / "commits").iterdir())],
                          cwd=project, capture_output=True).returncode == 0  # fmt: skip
