"""A Python that suits is found on PATH or among pyenv's; without one, one line says what to install."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Called as `python -c CODE ARGUMENT ...`, it says that it is another version.
FAKE = """#!/bin/sh
exec {real} -c 'import sys
code, sys.executable, sys.version_info = sys.argv[3], sys.argv[1], (3, {minor})
sys.argv[1:] = sys.argv[4:]
exec(code)' "$0" "$@"
"""
REFUSES = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"


class Machine:
    """A PATH, a pyenv and a home without any Python but those that a test adds."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.versions = root / "home" / ".pyenv" / "versions"
        self.environment = {"PATH": str(self.bin), "HOME": str(root / "home")}
        for tool in ("bash", "cat", "cut", "dirname", "mktemp", "rm", "sha256sum", "uname"):
            self.add(self.bin / tool, f'#!/bin/sh\nexec {shutil.which(tool)} "$@"\n')

    def add(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def add_python(self, path: Path, minor: int) -> Path:
        return self.add(path, FAKE.format(real=sys.executable, minor=minor))

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True)

    def find(self, repository: Path, *versions: str) -> str:
        script = (
            f"set -euo pipefail; source {repository}/launch/find_python.sh; find_python {' '.join(versions)}"
        )
        ended = self.run(str(self.bin / "bash"), "-c", script)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.add_python(made.bin / "python3", 11)
    return made


def test_the_first_version_asked_for_is_found_on_path(machine: Machine, repository: Path) -> None:
    newer = machine.add_python(machine.bin / "python3.13", 13)
    assert machine.find(repository, "3.12", "3.13") == str(newer)
    older = machine.add_python(machine.bin / "python3.12", 12)
    assert machine.find(repository, "3.12", "3.13") == str(older)


def test_python3_is_found_where_it_is_of_the_version(machine: Machine, repository: Path) -> None:
    assert machine.find(repository, "3.12", "3.11") == str(machine.bin / "python3")


def test_behind_a_shim_that_refuses_to_run_pyenvs_own_version_is_found(
    machine: Machine, repository: Path
) -> None:
    machine.add(machine.bin / "python3.12", REFUSES)
    assert machine.find(repository, "3.12") == ""
    real = machine.add_python(machine.versions / "3.12.1/bin/python", 12)
    assert machine.find(repository, "3.12") == str(real)


def test_a_pyenv_on_path_says_where_its_versions_are(
    machine: Machine, repository: Path, tmp_path: Path
) -> None:
    elsewhere = machine.add_python(tmp_path / "opt/versions/3.13.0/bin/python", 13)
    machine.add(machine.bin / "pyenv", f"#!/bin/sh\necho {tmp_path}/opt\n")
    assert machine.find(repository, "3.12", "3.13") == str(elsewhere)


def test_without_a_python_one_line_says_what_to_install(
    machine: Machine, repository: Path, tmp_path: Path
) -> None:
    machine.add(machine.bin / "python3.12", REFUSES)
    clone = tmp_path / "clone"
    shutil.copytree(repository / "launch", clone / "launch")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(repository / name, clone)
    ended = machine.run(str(machine.bin / "bash"), str(clone / "launch/setup_env.sh"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1 and "install python3.12" in ended.stderr
    assert not (clone / ".venv").exists()
