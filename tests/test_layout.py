"""Our packages have common names: a foreign one of the same name must not stand in for them."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACKAGES = ["actor", "config", "launch", "learner", "protocol", "tests"]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_comes_from_this_repository(name: str, repository: Path) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None, f"{name} has no __init__.py"
    assert Path(file).resolve() == repository / name / "__init__.py"


@pytest.mark.parametrize(
    "script",
    [
        "setup_env", "test", "start", "demos", "train_base", "install_engines", "pod/setup", "pod/restart",
        "pod/save",
    ],
)  # fmt: skip
def test_script_is_executable_bash_that_stops_on_errors(script: str, repository: Path) -> None:
    path = repository / "launch" / f"{script}.sh"
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    text = path.read_text()
    # Two lines: each command is the condition of the next.
    assert "set -euo pipefail" in text or (text.count("\n") == 2 and text.count(" && ") == 2)


@pytest.mark.parametrize("lock", ["requirements.lock", "launch/env_demos/requirements.lock"])
def test_lock_pins_every_package_and_names_no_place(lock: str, repository: Path) -> None:
    lines = [line for line in (repository / lock).read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line] == []


def test_lock_has_what_the_project_names(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["actor"], *extras["learner"], *extras["dev"]]
    lines = (repository / "requirements.lock").read_text().splitlines()
    locked = {name: version for name, _, version in (line.partition("==") for line in lines)}
    for requirement in map(Requirement, named):
        assert requirement.specifier.contains(locked[requirement.name]), requirement


def test_ci_runs_the_readme_test_command(repository: Path) -> None:
    assert "bash launch/test.sh" in (repository / ".ci/run").read_text().splitlines()
    assert "bash launch/test.sh" in (repository / "README.md").read_text()


def test_no_test_imports_another(repository: Path) -> None:
    taken = re.compile(r"^\s*(from|import) tests\.(\w+\.)*test_\w+", re.M)
    assert [path for path in (repository / "tests").rglob("*.py") if taken.search(path.read_text())] == []
