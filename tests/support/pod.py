"""A rented pod: a container whose disk is wiped, and a volume that stays."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.documents import ROOT

# Installs nothing: it leaves an archive where apt would, and a program in /usr/local.
APT_GET = """#!/bin/sh
archives=$(printf '%s\\n' "$@" | sed -n 's/^Dir::Cache::archives=//p')
shown=""
for word; do
    case $word in install | update) verb=$word ;; -* | *=*) ;; *) shown="$shown $word" ;; esac
done
[ "$verb" = install ] || { touch "${archives%/*}/lists/updated"; exit 0; }
[ -e "${archives%/*}/lists/updated" ] || { echo "E: Unable to locate package" >&2; exit 100; }
for package in $shown; do
    [ -e "$archives/$package.deb" ] && kept=kept || kept=fetched
    touch "$archives/$package.deb"
    mkdir -p /usr/local/bin
    printf '#!/bin/sh\\necho %s\\n' "$kept" >"/usr/local/bin/$package"
    chmod +x "/usr/local/bin/$package"
done
"""
# As uv does, for a Python that is there already.
UV = """#!/bin/sh
[ "{python}" ] || {{ printf 'error: Failed to install\\n  cause: no network\\n' >&2; exit 1; }}
mkdir -p "$UV_PYTHON_INSTALL_DIR/cpython-3.12.9-linux/bin"
ln -sf {python} "$UV_PYTHON_INSTALL_DIR/cpython-3.12.9-linux/bin/python3"
"""
# Links instead of packages, which would take gigabytes. What lacks a stamp it makes again, as the real one.
SETUP_ENV = """#!/usr/bin/env bash
[[ -e .venv/stamp ]] && exit 0
rm -rf .venv
mkdir .venv
ln -s {prefix}/* .venv/
rm -f .venv/stamp
touch .venv/stamp
echo "setup | made .venv"
"""
# What a container brings, and all that the scripts need beyond it.
PROGRAMS = (
    "basename", "bash", "cat", "chmod", "cp", "dirname", "env", "false", "git", "grep", "ln", "ls", "mkdir",
    "mktemp", "mount", "mv", "printf", "readlink", "realpath", "rm", "rmdir", "sed", "sh", "stat", "tail",
    "touch", "tr", "true", "unshare",
)  # fmt: skip
# Of the project, what the scripts do not need.
LEFT_OUT = ("tests/", "docs/", "bases/", "benchmarks/")


def refusal() -> str | None:
    """Why this machine does not let us play a pod; None where it does."""
    if Path(sys.base_prefix).is_relative_to("/usr/local"):
        return "the Python of these tests is in /usr/local, which a pod here replaces"
    done = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"namespaces are not permitted: {done.stderr.strip()}"


class Pod:
    """Its disk has HOME, /usr/local, /etc/profile.d and a clone; its volume is a folder.

    Args:
        root: where volume and disk are kept.
        real: the clone is whole, and the machine's own programs are there after those of the container.
    """

    def __init__(self, root: Path, *, real: bool = False) -> None:
        self.volume, self._disk = root / "volume", root / "disk"
        self.clone = self._disk / "clone"
        self.project = self.volume / "residual-rl"
        self._stand_ins = root / "stand-ins"
        self._left_out = () if real else LEFT_OUT
        self._path = f"/usr/local/bin{os.pathsep}{self._stand_ins}"
        if real:
            self._path += os.pathsep + os.environ["PATH"]
        self.volume.mkdir(parents=True)
        self._stand_ins.mkdir()
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found is not None, name
            (self._stand_ins / name).symlink_to(found)
        self._add(self._stand_ins / "apt-get", APT_GET)
        self.wipe()

    def wipe(self) -> None:
        """The container is started again, with its image alone."""
        shutil.rmtree(self._disk, ignore_errors=True)
        for name in ("home", "local", "profile.d"):
            (self._disk / name).mkdir(parents=True)

    @property
    def home(self) -> Path:
        return self._disk / "home"

    @property
    def profile(self) -> Path:
        return self._disk / "profile.d" / "residual-rl.sh"

    def add_uv(self, python: str = sys.executable) -> None:
        """So that nothing is fetched. Without a `python` none can be had."""
        self._add(self.volume / "bin" / "uv", UV.format(python=python))

    def add_clone(self) -> None:
        """This checkout as it is, committed, on the container's disk."""
        words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(self._left_out):
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.clone / name)
        self._add(self.clone / "launch/setup_env.sh", SETUP_ENV.format(prefix=sys.prefix))
        git(self.clone, "init", "--quiet", "--initial-branch=main")
        git(self.clone, "add", "--all")
        commit(self.clone, "all of it")

    def run(
        self, command: str, timeout_s: float = 60, before: str = "true", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """What a person in the pod gets. `before`: what is mounted first."""
        return subprocess.run(
            self._words(command, before), env=self.environment() | variables, cwd=self._disk,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip

    def start(self, command: str, log: Path) -> subprocess.Popen[str]:
        """The same in the background."""
        with log.open("w") as file:
            return subprocess.Popen(
                self._words(command, "true"), env=self.environment(), cwd=self._disk,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True, start_new_session=True,
            )  # fmt: skip

    def _words(self, command: str, before: str) -> list[str]:
        mounts = [
            f"mount --bind {self._disk}/local /usr/local",
            f"mount --bind {self._disk}/profile.d /etc/profile.d",
            before,
            f"exec bash -c {shlex.quote(command)}",
        ]
        return [f"{self._stand_ins}/unshare", "-Urm", "sh", "-ec", "\n".join(mounts)]

    def environment(self) -> dict[str, str]:
        """A container knows nothing of this machine's caches and keys."""
        return {
            "HOME": str(self.home), "VOLUME": str(self.volume), "VOLUME_ON_CONTAINER_DISK": "yes",
            "PATH": self._path, "PYTHONPATH": str(self.project),
        }  # fmt: skip

    def _add(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def git(folder: Path, *argv: str) -> str:
    """What git says there."""
    done = subprocess.run(["git", "-C", str(folder), *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    """Commit what is added; returns the new commit."""
    who = ("-c", "user.name=a person", "-c", "user.email=person@example.org")
    git(folder, *who, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")
