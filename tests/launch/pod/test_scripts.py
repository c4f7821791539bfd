"""Laws of the pod's scripts: all that must last is on the volume, and a wiped disk comes back from there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pod import Pod, commit, git, refusal

PLACES = (
    "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR", "PIP_CACHE_DIR", "HF_HOME", "TORCH_HOME", "WANDB_CACHE_DIR",
    "MPLCONFIGDIR", "MS_ASSET_DIR", "XDG_CACHE_HOME",
)  # fmt: skip
SCRIPTS = ("setup", "restart", "save")


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    pod = Pod(tmp_path)
    pod.add_clone()
    yield pod


def test_a_clone_elsewhere_moves_onto_the_volume_and_a_wiped_disk_comes_back_from_there(pod: Pod) -> None:
    pod.add_uv()
    git(pod.clone, "remote", "add", "origin", "host:project.git")
    git(pod.clone, "branch", "other")
    head = commit(pod.clone, "more")
    (pod.clone / ".env").write_text("WANDB_API_KEY=0\n")
    (pod.clone / "README.md").write_text("changed\n")

    done = pod.run(f"bash {pod.clone}/launch/pod/setup.sh")
    assert done.returncode == 0, done.stderr
    assert "changes that are in no commit stay in" in done.stderr
    assert (pod.project / ".env").read_text() == "WANDB_API_KEY=0\n"
    assert git(pod.project, "for-each-ref", "--format=%(refname)") == "refs/heads/main\nrefs/heads/other"
    assert git(pod.project, "rev-parse", "HEAD") == head
    assert git(pod.project, "remote", "get-url", "origin") == "host:project.git"
    assert "made .venv" in done.stdout and "no run is unfinished" in done.stdout

    check_that_all_lies_on_the_volume(pod)
    again = pod.run(f"bash {pod.project}/launch/pod/setup.sh")
    assert again.returncode == 0 and "made .venv" not in again.stdout and "installing" not in again.stdout
    assert pod.home.joinpath(".bashrc").read_text().count("\n") == 1

    pod.wipe()
    (pod.home / ".bashrc").write_text("own=line\n")
    back = pod.run(f"bash {pod.project}/launch/pod/restart.sh")
    assert back.returncode == 0, back.stderr
    assert "made .venv" not in back.stdout
    assert pod.run("tmux").stdout == "kept\n", "the archive is fetched once"
    assert pod.home.joinpath(".bashrc").read_text().startswith("own=line\n[ -r ")
    check_that_all_lies_on_the_volume(pod)


def check_that_all_lies_on_the_volume(pod: Pod) -> None:
    """Seen by a new shell: an interactive one, and by one for a login."""
    for source in (pod.home / ".bashrc", pod.profile):
        shown = pod.run(f"env -u VOLUME sh -c '. {source} && env'").stdout.splitlines()
        variables = dict(line.split("=", 1) for line in shown)
        assert all(variables[name].startswith(f"{pod.volume}/") for name in PLACES)
        assert variables["HDF5_USE_FILE_LOCKING"] == "FALSE"
        assert variables["PATH"].startswith(f"{pod.volume}/bin:")
    assert (pod.home / ".sapien").resolve().is_relative_to(pod.volume)
    assert list((pod.volume / "python").glob("cpython-3.12*")), "a Python of the disk would be gone with it"


def test_an_environment_whose_python_is_gone_is_made_again(pod: Pod) -> None:
    pod.add_uv(python="")
    done = pod.run(f"bash {pod.clone}/launch/pod/setup.sh")
    assert done.returncode == 0
    assert "warning: no Python on the volume (no network): .venv takes the container's" in done.stderr
    (pod.project / ".venv/bin").unlink()
    (pod.project / ".venv/bin").mkdir()
    (pod.project / ".venv/bin/python").symlink_to("/gone/python3.12")
    back = pod.run(f"bash {pod.project}/launch/pod/restart.sh")
    assert back.returncode == 0 and "made .venv" in back.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_volume_that_does_not_last_is_refused_in_one_line_before_anything_is_done(
    script: str, pod: Pod
) -> None:
    start = f"bash {pod.clone}/launch/pod/{script}.sh"
    locked = f"mount --bind -o ro {pod.volume} {pod.volume}"
    for done, says in (
        (pod.run(start, VOLUME="/not/there"), "no volume at /not/there: attach one"),
        (pod.run(start, VOLUME_ON_CONTAINER_DISK=""), "is on the container's own disk"),
        (pod.run(start, before=locked), "cannot be written"),
        (pod.run(f"{start} now"), "now is no argument"),
    ):
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr.count("\n") == 1 and says in done.stderr, done.stderr
    assert list(pod.volume.iterdir()) == list(pod.home.iterdir()) == []


def test_a_file_system_of_its_own_is_taken_without_a_word(pod: Pod) -> None:
    mounted = f"mount -t tmpfs volume {pod.volume}"
    done = pod.run(f"bash {pod.clone}/launch/pod/restart.sh", before=mounted, VOLUME_ON_CONTAINER_DISK="")
    assert done.returncode == 2 and f"{pod.clone} is not on the volume" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_a_script_does(script: str, pod: Pod) -> None:
    done = pod.run(f"bash {pod.clone}/launch/pod/{script}.sh --help", VOLUME="/not/there")
    assert done.returncode == 0 and f"launch/pod/{script}.sh" in done.stdout and done.stdout.count("\n") >= 2
