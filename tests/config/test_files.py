"""Laws of shared files: readers see all or nothing, and a lock ends with its process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import files
from config.files import (
    broken_link,
    is_locked,
    locked,
    replace_text,
    replaced,
    require_writable,
    try_lock,
    whole_folder,
)
from config.process import UsageError


def test_a_reader_sees_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    replace_text(path, "old")
    with replaced(path) as fresh:
        fresh.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    replace_text(path, "old")
    with pytest.raises(KeyError), replaced(path) as fresh:
        fresh.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_is_for_one_and_ends_with_its_process(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    if kind == "file":
        path.touch()
    else:
        path.mkdir()
    code = "import sys; from pathlib import Path; from config.files import try_lock; "
    code += "print(try_lock(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline().strip().isdigit()
        assert try_lock(path) is None
        with pytest.raises(KeyError), locked(path, KeyError()):
            pass
        other.kill()
    with locked(path, KeyError()):
        assert try_lock(path) is None
    descriptor = try_lock(path)
    assert descriptor is not None


# As a process finds a volume of a network that has no locks.
REFUSED = """
import fcntl, logging, os, sys
from pathlib import Path
from config.files import is_locked, try_lock
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
def refuse(*_):
    raise OSError(int(sys.argv[2]), os.strerror(int(sys.argv[2])))
fcntl.flock = refuse
place = Path(sys.argv[1])
print(is_locked(place), try_lock(place) is not None, is_locked(place), flush=True)
sys.stdin.read()
"""


def start_where_locks_are_refused(path: Path, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", REFUSED, str(path), str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_the_volume_refuses_locks_processes_of_this_host_still_exclude_each_other(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    path, link = tmp_path / "run" / "lock", tmp_path / "link"
    path.parent.mkdir()
    path.touch()
    link.symlink_to(path.parent)
    with start_where_locks_are_refused(path, number) as other:
        assert other.stdout is not None
        said = [other.stdout.readline() for _ in range(2)]
        assert said[0].startswith(f"WARNING {path.parent} ") and "two hosts must not use one run" in said[0]
        assert said[1] == "False True True\n"
        assert try_lock(path) is None and is_locked(path)
        assert try_lock(link / "lock") is None, "the same file by another name"
        assert not is_locked(path.parent), "another path is another lock"
        other.kill()
    with locked(path, KeyError()):
        assert is_locked(path) and try_lock(path) is None
    assert not is_locked(path)
    assert len([line for line in caplog.messages if str(path.parent) in line]) == 1


def test_other_errors_of_a_lock_are_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"):
        try_lock(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        is_locked(tmp_path)


def test_a_link_that_leads_nowhere_is_named_wherever_it_is_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("/nowhere/at all")
    says = f"{tmp_path}/runs is a link to /nowhere/at all, which is not there: mend or remove the link"
    assert broken_link(tmp_path / "runs" / "one" / "file") == broken_link(tmp_path / "runs") == says
    with pytest.raises(UsageError, match="/runs/one cannot be written: .*/runs is a link to /nowhere"):
        require_writable(tmp_path / "runs" / "one", folder=True)
    assert broken_link(tmp_path / "none") is None and broken_link(Path("none")) is None


def test_a_folder_comes_whole_or_not_at_all_and_what_a_kill_left_goes(tmp_path: Path) -> None:
    target, taken = tmp_path / "policy", RuntimeError("taken")
    (tmp_path / ".policy.new" / "whole").mkdir(parents=True)
    (tmp_path / ".policy.new" / "whole" / "half").touch()
    with pytest.raises(KeyError), whole_folder(target, taken) as folder:
        assert [*folder.iterdir()] == []
        raise KeyError
    assert [*tmp_path.iterdir()] == []
    with whole_folder(target, taken) as folder:
        (folder / "weights").touch()
        with pytest.raises(RuntimeError, match="taken"), whole_folder(target, taken):
            pass
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [
        Path("policy"),
        Path("policy/weights"),
    ]
