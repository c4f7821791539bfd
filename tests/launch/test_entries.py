"""Every entry explains itself, and refuses what it cannot use in one line that says what."""

import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SUITABLE = ("actor", "launch", "learner")

# Those that other tests have imported are run once more.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules")


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Entries set up their own process; this one is not theirs."""
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    told = [*logging.getLogger("launch").handlers]
    yield
    logging.getLogger("launch").handlers[:] = told
    for number, handler in handlers.items():
        signal.signal(number, handler)


def entries() -> list[str]:
    """What `python -m` takes."""
    files = [path for name in SUITABLE for path in (ROOT / name).rglob("*.py")]
    found = [path.relative_to(ROOT) for path in files if 'if __name__ == "__main__":' in path.read_text()]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__main__") for path in found]
    # The one that a run starts for itself.
    return sorted(set(names) - {"launch.run.guard"})


def call(monkeypatch: pytest.MonkeyPatch, module: str, *words: str) -> int:
    """The exit code of `python -m module words`, in this process."""
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    if isinstance(ended.value.code, str):
        sys.stderr.write(ended.value.code + "\n")  # as the interpreter does
        return 1
    return ended.value.code or 0


@pytest.mark.parametrize("module", entries())
def test_help_is_no_error(module: str, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    assert call(monkeypatch, module, "--help") == 0
    said = capfd.readouterr()
    assert len(said.out.splitlines()) > 3 and said.err == ""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files that are not what their names promise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    for name in ("junk.h5", "junk.pt", "junk.jsonl"):
        (tmp_path / name).write_text("junk")
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "nothing.yaml").write_text("")
    (tmp_path / "key.yaml").write_text("nme: 3")
    torch.save({"actor": 1}, tmp_path / "other.pt")
    return tmp_path


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """launch/ of a clone whose .venv is ready."""
    for name in ("actor", "config", "learner", "protocol"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    (tmp_path / "launch/setup_env.sh").write_text("exit 0")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path / "launch"


@pytest.mark.parametrize("name", ["actor", "demos", "keys", "start", "test", "train_base", "viz"])
def test_scripts_explain_themselves_and_make_nothing(name: str, scripts: Path) -> None:
    before = sorted(scripts.parent.iterdir())
    said = subprocess.run(
        ["bash", str(scripts / f"{name}.sh"), "--help"], capture_output=True, text=True, cwd="/"
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "") and f"launch/{name}.sh" in said.stdout
    assert sorted(scripts.parent.iterdir()) == before


def test_demonstrations_with_a_wrong_key_fetch_nothing(scripts: Path) -> None:
    refused = subprocess.run(
        ["bash", str(scripts / "demos.sh"), "task=PickCube-v1", "nosuch=1"], capture_output=True, text=True
    )  # fmt: skip
    assert refused.returncode == 2 and "nosuch" in refused.stderr and refused.stdout == ""
    assert not (scripts.parent / ".venv-demos").exists()


REFUSED = [
    ("launch.show.monitor nosuch", "no run runs/nosuch"),
    ("launch.show.plot nosuch --out a.png", "is nosuch the name of a run?"),
    ("launch.show.plot nosuch --out a.xyz", "is no picture"),
    ("launch.study.plot none.jsonl --out a.png", "none.jsonl holds no such run"),
    ("launch.study.plot junk.jsonl --out a.png", "junk.jsonl is no record"),
    ("launch.study none.yaml", "none.yaml"),
    ("launch.study list.yaml", "list.yaml holds no keys"),
    ("launch.study nothing.yaml", "nothing.yaml holds no keys"),
    ("launch.study key.yaml", "nme"),
    ("launch.study other.pt", "other.pt"),
    ("launch.study settings={a:[algo.tau=1]}", "algo.tau was removed"),
    ("learner runs_dir=/proc name=a", "/proc/a cannot be used"),
    ("launch.study tasks=[nosuch]", "nosuch"),
    ("launch.show.viz nosuch", "no run runs/nosuch"),
    ("launch.show.viz empty", "empty/replay holds no episode yet"),
    ("launch.run nosuch=1", "nosuch"),
    ("launch.run nosuch", "nosuch"),
    ("launch.run task=nosuch", "nosuch"),
    ("launch.run seed=abc", "$.seed"),
    ("launch.run.remote_actor", "address is missing: write tcp://HOST:PORT"),
    ("launch.run.remote_actor host", "host is no address: write tcp://HOST:PORT"),
    ("launch.make_keys a/b", "a/b"),
    ("launch.make_keys --dir junk.pt", "junk.pt"),
    ("launch.demos.make_demos nosuch=1", "nosuch"),
    ("launch.demos.make_demos episodes=0", "1 or more"),
    ("launch.demos.to_lerobot none.h5 out", "no demonstrations at none.h5"),
    ("launch.demos.to_lerobot junk.h5 out", "junk.h5 is not a ManiSkill trajectory file"),
    ("launch.demos.pack none.h5 out.h5", "no demonstrations at none.h5"),
    ("launch.demos.pack none.h5 out.h5 many", "many"),
    ("actor.simulators.dimensions Nonsense-v1 pd_ee_delta_pose", "Nonsense-v1 is not registered"),
    ("actor.simulators.dimensions PickCube-v1 pd_joint_pos", "actions outside [-1, 1]"),
    ("learner.base_training.run nosuch=1", "nosuch"),
    ("learner.base_training.run preset=nosuch", "nosuch"),
    ("learner.base_training.run task=Nonsense-v1 out=out", "Nonsense-v1"),
    ("learner.base_training.run demos=junk.h5 out=out", "junk.h5 is not a ManiSkill trajectory file"),
    ("learner.base_training.run demos=empty out=out", "empty"),
    ("learner.base_training.run device=nonsense out=out", "device=nonsense cannot be used"),
    ("learner.checkpoints.policy_decorator export none.pt out.pt", "none.pt"),
    ("learner.checkpoints.policy_decorator export junk.pt out.pt", "junk.pt is not a readable checkpoint"),
    ("learner.checkpoints.policy_decorator export other.pt out.pt", "no checkpoint of a residual"),
    (
        "learner.checkpoints.policy_decorator import other.pt out.pt algo=policy_decorator",
        "not the published layout",
    ),
    ("learner.checkpoints.policy_decorator import other.pt out.pt algo=nosuch", "nosuch"),
    ("learner.replay verify none", "none is no LeRobot dataset"),
    ("learner.replay verify empty", "empty is no LeRobot dataset"),
    ("learner.replay repair empty", "empty"),
    ("learner.replay info empty", "empty is no LeRobot dataset"),
    ("learner.replay export empty out", "empty is no LeRobot dataset"),
    ("learner.replay merge out none empty", "none is no LeRobot dataset"),
    ("learner runs_dir=. learner.device=nonsense", "learner.device=nonsense cannot be used"),
    ("learner runs_dir=. learner.replay_max_gb=0", "replay_max_gb must be above 0"),
    ("learner runs_dir=. name=nosuch resume=must", "holds no run to resume"),
    ("learner runs_dir=. base.path=empty", "empty"),
    ("learner algo.gama=0.9", "gama"),
    ("learner --config none.yaml", "none.yaml"),
    ("actor algo.gama=0.9", "gama"),
    ("actor.evaluate algo.gama=0.9", "gama"),
    ("actor actor.device=nonsense", "actor.device=nonsense cannot be used"),
    ("actor.evaluate_base base.path=empty", "empty"),
]


@pytest.mark.parametrize(("command", "says"), REFUSED)
def test_what_cannot_be_used_is_one_clear_line(
    command: str, says: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd, caplog
) -> None:
    caplog.set_level(logging.INFO)
    assert call(monkeypatch, *command.split()) not in (0, None)
    said = capfd.readouterr()
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    # argparse puts its usage before the line.
    written = [line for line in said.err.splitlines() if not line.startswith(("usage:", " "))]
    lines = errors or written or caplog.messages
    assert len(lines) == 1 and says in lines[0], (lines, said)
    assert "Traceback" not in said.out + said.err
