"""Markdown pages of this repository: their commands, links and headings."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# First words of commands that take long: tests/system/test_how_to.py runs them, section by section.
SLOW = (
    "bash launch/start.sh",
    "bash launch/actor.sh",
    "bash launch/demos.sh",
    "bash launch/train_base.sh",
    "bash launch/setup_env.sh",
    "for i in 1 2 3 4; do bash launch/actor.sh",
    "residual-rl run",
    "residual-rl evaluate",
    "residual-rl viz",
    "residual-rl study",
    "residual-rl demos",
    "residual-rl train-base",
    "residual-rl inspect",
    "residual-rl convert",
    "lerobot-train",
    "python play.py",
    "mkdir -m 700 keys",
    "scp",
)
# First words of commands, and the test that runs them.
TESTED_ELSEWHERE = {
    "bash launch/test.sh": ".ci/run",
    "ssh -N -L": "tests/system/test_ssh_tunnel.py",
    "residual-rl submit": "tests/system/test_slurm.py",
    "residual-rl run cluster=ray": "tests/system/test_ray.py",
    "residual-rl jobs": "tests/system/test_slurm.py",
    "bash launch/pod/setup.sh": "tests/launch/pod/test_scripts.py",
    "bash /workspace/residual-rl/launch/pod/restart.sh": "tests/launch/pod/test_scripts.py",
    "bash launch/pod/save.sh": "tests/launch/pod/test_wiped_pod.py",
    "SAVE_TO=": "tests/launch/pod/test_save.py",
    "docker compose": "tests/launch/containers/test_files.py",
    "docker build": "tests/launch/containers/test_install_steps.py",
    "docker run": "tests/launch/containers/test_files.py",
    "residual-rl actor tcp://127.0.0.1:5588 actor.intervene=keyboard": "tests/system/test_takeover.py",
    "residual-rl actor tcp://127.0.0.1:5588 actor.intervene=tel": "tests/actor/interventions/test_teleop.py",
    "residual-rl improve": "tests/launch/improve/test_improve.py",
    "residual-rl train-reward": "tests/learner/rewards/test_train_reward.py",
    "residual-rl export": "tests/plugins/test_lerobot_policy.py",
    "pip install --no-deps ./plugins": "tests/plugins/test_lerobot_policy.py",
    "lerobot-eval": "tests/plugins/test_lerobot_env.py",
    "pip install ./my_package": "tests/config/test_packages.py",
    "residual-rl page": "tests/launch/page/test_server.py",
    "residual-rl film": "tests/launch/film/test_real_films.py",
    ".venv/bin/residual-rl film": "tests/launch/film/test_real_films.py",
}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Command:
    """One command of a page, as a reader pastes it, with its comment."""

    page: str
    heading: str
    text: str

    @property
    def comment(self) -> str:
        return self.text.partition(" # ")[2].strip()

    @property
    def words(self) -> str:
        """Without its comment."""
        return self.text.partition(" # ")[0].strip()

    def __str__(self) -> str:
        return f"{self.page}: {self.words}"


def pages() -> list[Path]:
    """All pages that git knows or will know."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def command_pages() -> list[Path]:
    """Those whose commands tests run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def commands(page: Path) -> Iterator[Command]:
    """Every command of the page's bash blocks, in order."""
    name, text = str(page.relative_to(ROOT)), page.read_text()
    for block in _FENCE.finditer(text):
        if block[1] == "bash":
            above = re.findall(r"^#+ (.*)$", _FENCE.sub("", text[: block.start()]), re.M)
            for line in block[2].replace("\\\n", " ").splitlines():
                if line.strip():
                    yield Command(name, above[-1], line)


def all_commands() -> list[Command]:
    return [command for page in command_pages() for command in commands(page)]


def programs(page: Path) -> dict[str, str]:
    """Python blocks whose first line is the name of the file that a reader makes of them, by that name."""
    found = (block[2] for block in _FENCE.finditer(page.read_text()) if block[1] == "python")
    return {text.partition("\n")[0].removeprefix("# "): text for text in found}


def links(text: str) -> list[str]:
    """Targets of links and pictures outside of code."""
    plain = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return _LINK.findall(plain)


def anchors(text: str) -> set[str]:
    """Of all headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
