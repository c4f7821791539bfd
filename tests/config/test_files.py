"""Laws of shared files: readers see all or nothing, and a lock ends with its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.files import broken_link, locked, replace_text, replaced, require_writable, try_lock
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


def test_a_link_that_leads_nowhere_is_named_wherever_it_is_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("/nowhere/at all")
    says = f"{tmp_path}/runs is a link to /nowhere/at all, which is not there: mend or remove the link"
    assert broken_link(tmp_path / "runs" / "one" / "file") == broken_link(tmp_path / "runs") == says
    with pytest.raises(UsageError, match="/runs/one cannot be written: .*/runs is a link to /nowhere"):
        require_writable(tmp_path / "runs" / "one", folder=True)
    assert broken_link(tmp_path / "none") is None and broken_link(Path("none")) is None
