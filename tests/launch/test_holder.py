"""Who works in a run's folder, and how it is stopped."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from config.files import is_locked, locked, name_holder, try_lock
from config.process import UsageError
from launch.run import holder
from tests.support.watched_run import start_launcher


def test_the_launcher_is_interrupted_and_not_the_learner(tmp_path: Path, repository: Path) -> None:
    assert not holder.is_alive(tmp_path)
    (tmp_path / "lock").write_text(f"1 {socket.gethostname()}\n")
    with start_launcher(tmp_path, repository) as launcher, locked(tmp_path / "lock", KeyError()):
        assert holder.is_alive(tmp_path)
        assert holder.stop(tmp_path) == launcher.pid
        assert launcher.wait(30) == 130
    assert not holder.is_alive(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "does not say which process works here"),
        ("many words in it", "does not say which process works here"),
        ("12 elsewhere", "process 12 of .* is on elsewhere: stop it there"),
        (
            f"999999999 {socket.gethostname()}",
            "process 999999999 of .* cannot be stopped from here: No such process",
        ),
    ],
)
def test_whoever_cannot_be_stopped_from_here_is_named(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "launch.lock").write_text(content)
    with pytest.raises(UsageError, match="nothing to stop"):
        holder.stop(tmp_path)
    with locked(tmp_path / "launch.lock", KeyError()), pytest.raises(UsageError, match=says):
        holder.stop(tmp_path)


def test_the_question_whether_a_file_is_locked_keeps_nobody_from_locking_it(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    assert not is_locked(place)
    place.touch()
    code = "import sys\nfrom pathlib import Path\nfrom config.files import is_locked\nprint(flush=True)\n"
    code += "while True: assert not is_locked(Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        for _ in range(20):
            descriptor = try_lock(place)
            if descriptor is None:  # the other process asks without a pause: here it was met twice
                continue
            os.close(descriptor)
            break
        else:
            raise AssertionError("never locked")
        asking.kill()
    with locked(place, KeyError()):
        name_holder(place)
        assert is_locked(place) and place.read_text() == f"{os.getpid()} {socket.gethostname()}\n"
