"""launch/install_engines.sh: nothing to do, or apt-get, or one line that says why not."""

import os
import subprocess
from pathlib import Path

import pytest

ENGINES = ("slurmctld", "slurmd", "sbatch", "munged", "mungekey")


def install(repository: Path, folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run it where only these programs exist beside those of a small system."""
    for name in ("bash", "id", "mktemp", "rm", "grep", "tail"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    for name, text in programs.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    return subprocess.run(
        ["/bin/bash", repository / "launch" / "install_engines.sh"],
        env={"PATH": str(folder), "SBIN": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip


def test_where_everything_is_there_nothing_is_installed(repository: Path, tmp_path: Path) -> None:
    done = install(repository, tmp_path, apt_get="echo called; exit 1", **dict.fromkeys(ENGINES, ":"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_packages_that_cannot_be_fetched_are_one_line(repository: Path, tmp_path: Path) -> None:
    fails = "echo 'Get: 1'; echo 'E: Could not resolve the mirror' >&2; exit 100"
    done = install(repository, tmp_path, apt_get=fails, sudo='shift; "$@"', slurmctld=":")
    assert done.returncode == 1
    assert done.stderr == (
        "engines | apt-get could not install slurm-wlm and munge: E: Could not resolve the mirror\n"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user calls sudo")
def test_they_are_fetched_with_apt_get(repository: Path, tmp_path: Path) -> None:
    done = install(repository, tmp_path, apt_get=f'echo "$@" >>{tmp_path}/asked')
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        "update -o Acquire::Retries=3",
        "install -o Acquire::Retries=3 --yes --no-install-recommends slurm-wlm munge",
    ]


def test_without_apt_get_it_says_what_to_install(repository: Path, tmp_path: Path) -> None:
    done = install(repository, tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("engines | no apt-get here: install Slurm")
