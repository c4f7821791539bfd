"""An entry point as a process: Ctrl-C, output that is closed or full, and words that are judged first."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import left_running


def environment(repository: Path, *first: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*first, repository]))}


@pytest.mark.parametrize("module", ["launch", "learner", "actor"])
def test_ctrl_c_during_imports_leaves_no_trace(module: str, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", module], env=environment(repository, tmp_path), cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(10), process.stderr.read()) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("redirected", "code", "says"),
    [
        (">/dev/full", 1, "error: standard output cannot be written: No space left on device\n"),
        (">&-", 2, "error: standard output cannot be written: it is closed: give it a file, or /dev/null\n"),
        ("2>/dev/full >/dev/full", 1, ""),
        (">&3 3>&-", 1, ""),
        ("<&- >/dev/null", 0, ""),
    ],
)
@pytest.mark.parametrize("words", ["completion bash", "keys --dir keys"])
def test_output_that_cannot_be_written_is_an_error_in_one_line(
    words: str, redirected: str, code: int, says: str, repository: Path, tmp_path: Path
) -> None:
    # Descriptor 3 is a pipe whose reader has ended.
    script = f"exec 3> >(:); wait $!; {sys.executable} -m launch {words} {redirected}"
    ended = subprocess.run(
        ["bash", "-c", script], env=environment(repository), cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (code, says)


WRONG = [
    "actor nosuch=1", "actor tcp://127.0.0.1:1 seed=3", "actor host", "evaluate nosuch=1", "evaluate norun",
    "evaluate task=nosuch", "learner nosuch=1", "train-base nosuch=1", "inspect nosuch=1", "run nosuch=1",
    "convert a b --to residual nosuch=1", "demos nosuch=1", "study nosuch=1",
]  # fmt: skip


def test_words_are_judged_before_anything_that_takes_seconds_is_imported(
    repository: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\nfrom launch.cli.main import main\n"
        f"for line in {WRONG}:\n"
        "    sys.argv[1:] = line.split()\n"
        "    try:\n        main()\n"
        "    except SystemExit as ended:\n        print(line, ended.code, 'torch' in sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(repository),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.stdout.splitlines() == [f"{line} 2 False" for line in WRONG], ended.stderr
    assert len(ended.stderr.splitlines()) == len(WRONG)


def test_a_refused_path_leaves_nothing_running(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my folder = ü"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "launch", "evaluate", f"base.path={folder}"], env=environment(repository),
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        _, said = process.communicate(timeout=100)
    assert process.returncode == 2 and said.count("\n") == 1 and str(folder) in said
    assert left_running(process.pid) == []
