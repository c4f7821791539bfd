"""The install steps of each image, run in an empty folder as the user who runs the tests.

python -m pytest tests/launch/containers/test_install_steps.py -m slow
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dockerfile import Stage, read_stages
from tests.support.documents import ROOT

STAGES = read_stages(ROOT / "launch" / "containers" / "Dockerfile")
# What each image is for.
USES = {
    "actor": ("actor --help", "keys one two"),
    "learner": ("run --print-config", "keys one two", "page --help"),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def environment(stage: Stage, folder: Path) -> dict[str, str]:
    """Its ENV, with links to uv's cache on this machine instead of none, and nothing compiled ahead."""
    programs = folder.parent / "programs"
    programs.mkdir()
    for name in ("python3", "python3.12"):
        (programs / name).symlink_to(Path(sys.base_prefix, "bin", "python3").resolve())
    said = " ".join(stage.all("ENV")).replace("/home/robot/residual-rl", str(folder))
    variables = dict(word.split("=", 1) for word in shlex.split(said))
    assert variables.pop("UV_NO_CACHE") == variables.pop("UV_COMPILE_BYTECODE") == "1"
    system = os.pathsep.join([str(programs), "/usr/local/bin", "/usr/bin", "/bin"])
    variables["PATH"] = variables["PATH"].replace("$PATH", system)
    # How this machine reaches packages.
    reaches = re.compile("UV_|PIP_|SSL_|.*_(proxy|PROXY)$")
    kept = {name: value for name, value in os.environ.items() if reaches.match(name)}
    return kept | variables | {"HOME": os.environ["HOME"], "UV_LINK_MODE": "symlink"}


def copy(text: str, folder: Path) -> None:
    """A COPY of ours: single files, or all that git knows."""
    *sources, target = [word for word in shlex.split(text) if not word.startswith("--")]
    if sources == ["."]:
        words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        left_out = re.compile("docs/|tests/|benchmarks/")
        sources = [
            name for name in listed.splitlines() if not left_out.match(name) and (ROOT / name).is_file()
        ]
    for name in sources:
        (folder / target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / target / name)


@pytest.mark.parametrize("name", USES)
def test_an_image_can_be_made_by_an_ordinary_user_and_does_what_it_is_for(name: str, tmp_path: Path) -> None:
    stage, folder = STAGES[name], tmp_path / "residual-rl"
    folder.mkdir()
    variables = environment(stage, folder)

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", command], cwd=folder, env=variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
        return done.stdout

    for instruction, text in stage.as_user():
        if instruction == "COPY":
            copy(text, folder)
        elif instruction == "RUN":
            run(text)
    for words in USES[name]:
        assert run(f"residual-rl {words}")
    imports = (
        "import importlib.util as i; print(*(i.find_spec(name) is not None for name in ('lerobot', 'wandb')))"
    )
    assert run(f"python -c {shlex.quote(imports)}") == (
        "True True\n" if name == "learner" else "False False\n"
    )
