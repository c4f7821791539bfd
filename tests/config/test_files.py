"""Laws of shared files: readers see all or nothing, and a lock ends with its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.files import locked, replace_text, replaced, try_lock


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
