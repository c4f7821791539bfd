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

from launch.cli.verb import PROGRAM
from tests.support.program import residual_rl

ROOT = Path(__file__).resolve().parents[2]

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
    files = [path for name in ("actor", "learner") for path in (ROOT / name).rglob("*.py")]
    found = [path.relative_to(ROOT) for path in files if 'if __name__ == "__main__":' in path.read_text()]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__main__") for path in found]
    # What other processes start: the guard of a run, trackers, ranks, demonstrations for the planner.
    trackers = {f"learner.tracking.{name}_process" for name in ("wandb", "tensorboard", "trackio")}
    started = trackers | {"learner.follow", "launch.run.guard", "launch.demos.make_demos"}
    return sorted(set(names) - started)


def call(monkeypatch: pytest.MonkeyPatch, module: str, *words: str) -> int:
    """The exit code of `python -m module words`, or of `residual-rl words`, in this process."""
    if module == PROGRAM:
        return residual_rl(*words)
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
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/metrics.jsonl").write_text("{\n")
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


VERBS = {
    "actor": "actor",
    "demos": "demos",
    "keys": "keys",
    "start": "run",
    "train_base": "train-base",
    "viz": "viz",
}


@pytest.mark.parametrize("name", [*VERBS, "test"])
def test_scripts_explain_themselves_and_make_nothing(name: str, scripts: Path) -> None:
    before = sorted(scripts.parent.iterdir())
    said = subprocess.run(
        ["bash", str(scripts / f"{name}.sh"), "--help"], capture_output=True, text=True, cwd="/"
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    assert f"residual-rl {VERBS[name]}" in said.stdout if name in VERBS else "launch/test.sh" in said.stdout
    assert sorted(scripts.parent.iterdir()) == before


def test_demonstrations_with_a_wrong_key_fetch_nothing(scripts: Path) -> None:
    refused = subprocess.run(
        ["bash", str(scripts / "demos.sh"), "task=PickCube-v1", "nosuch=1"], capture_output=True, text=True
    )  # fmt: skip
    assert refused.returncode == 2 and "nosuch" in refused.stderr and refused.stdout == ""
    assert not (scripts.parent / ".venv-demos").exists()


REFUSED = [
    ("residual-rl monitor nosuch", "no run runs/nosuch"),
    ("residual-rl plot nosuch --out a.png", "is nosuch the name of a run?"),
    ("residual-rl plot nosuch --out a.xyz", "is no picture"),
    ("residual-rl plot none.jsonl --out a.png", "none.jsonl holds no such run"),
    ("residual-rl plot junk.jsonl --out a.png", "junk.jsonl is no record"),
    ("residual-rl study none.yaml", "none.yaml"),
    ("residual-rl study list.yaml", "list.yaml holds no keys"),
    ("residual-rl study nothing.yaml", "nothing.yaml holds no keys"),
    ("residual-rl study key.yaml", "nme"),
    ("residual-rl study other.pt", "other.pt"),
    ("residual-rl study settings={a:[algo.tau=1]}", "algo.tau was removed"),
    ("learner runs_dir=/proc name=a", "/proc/a cannot be used"),
    ("residual-rl study tasks=[nosuch]", "nosuch"),
    ("residual-rl viz nosuch", "no run runs/nosuch"),
    ("residual-rl viz empty", "empty/replay has no episode yet"),
    ("residual-rl run nosuch=1", "nosuch"),
    ("residual-rl run nosuch", "nosuch"),
    ("residual-rl run task=nosuch", "nosuch"),
    ("residual-rl run seed=abc", "$.seed"),
    ("residual-rl actor host", "host is no address: write tcp://HOST:PORT"),
    ("residual-rl actor tcp://a:1 task=stack_cube seed=3", "task, seed: this comes from the learner"),
    ("residual-rl actor --keys keys", "--keys belongs to an address"),
    ("residual-rl actor tcp://a:1 tcp://b:2", "one address at most"),
    ("residual-rl frob", "frob"),
    ("residual-rl monitor empty", "no run empty"),
    ("residual-rl plot junk.jsonl one --out a.png", "one STUDY.jsonl, or names of runs"),
    ("residual-rl plot one junk.jsonl --out a.png", "one STUDY.jsonl, or names of runs"),
    ("residual-rl plot broken --out a.png", "broken/metrics.jsonl has a damaged line"),
    ("residual-rl demos task=", "task must be the id of a task, or a file of config/task"),
    ("residual-rl run hydra.run.dir=x", "Hydra's own keys have no effect"),
    ("residual-rl run name=ü", "name must be letters, digits and . _ - alone, got 'ü'"),
    ("residual-rl run base.overrides={text:a=b}", "give it as 'base.overrides={text:\"a=b\"}'"),
    ("residual-rl convert a b --to", "(residual-rl convert --help)"),
    ("residual-rl replay export a b --after-version", "(residual-rl replay export --help)"),
    ("residual-rl plot a --out", "(residual-rl plot --help)"),
    ("residual-rl evaluate --residual empty", "empty"),
    ("residual-rl actor tcp://nohost.invalid:5588", "wire.keys_dir"),
    ("residual-rl actor tcp://127.0.0.1:5588 --keys empty", "empty"),
    ("residual-rl run --frob", "--frob"),
    ("residual-rl evaluate nosuch", "no run runs/nosuch"),
    ("residual-rl evaluate base.path=empty", "empty"),
    ("residual-rl convert a b --to lerobot algo=policy_decorator", "takes no key=value"),
    ("residual-rl plot runs --out a.png --x frames", "are for a STUDY.jsonl"),
    ("residual-rl keys a/b", "a/b"),
    ("residual-rl keys --dir junk.pt", "junk.pt"),
    ("residual-rl demos nosuch=1", "nosuch"),
    ("residual-rl demos episodes=0", "episodes must be at least 1"),
    ("residual-rl convert none.h5 out --to lerobot", "no demonstrations at none.h5"),
    ("residual-rl convert junk.h5 out --to lerobot", "junk.h5 is not a ManiSkill trajectory file"),
    ("residual-rl convert none.h5 out.h5 --to h5", "no demonstrations at none.h5"),
    ("residual-rl convert none.h5 out.h5 --to h5 --episodes many", "many"),
    ("residual-rl train-base nosuch=1", "nosuch"),
    ("residual-rl train-base preset=nosuch", "nosuch"),
    ("residual-rl train-base task=Nonsense-v1 out=out", "Nonsense-v1"),
    ("residual-rl train-base demos=junk.h5 out=out", "junk.h5 is not a ManiSkill trajectory file"),
    ("residual-rl train-base demos=empty out=out", "empty"),
    ("residual-rl train-base device=nonsense out=out", "device=nonsense cannot be used"),
    ("residual-rl convert none.pt out.pt --to published", "none.pt"),
    ("residual-rl convert other.pt out.pt --to residual", "name it .safetensors"),
    ("residual-rl convert other.pt out.safetensors --to published", "name it .pt"),
    ("residual-rl convert junk.pt out.pt --to published", "junk.pt is not a readable checkpoint"),
    ("residual-rl convert other.pt out.pt --to published", "other.pt, actor is no state dict"),
    (
        "residual-rl convert other.pt out.safetensors --to residual algo=policy_decorator",
        "not the published layout",
    ),
    ("residual-rl convert other.pt out.pt --to residual algo=nosuch", "nosuch"),
    ("residual-rl replay verify none", "none is no LeRobot dataset"),
    ("residual-rl replay verify empty", "empty is no LeRobot dataset"),
    ("residual-rl replay repair empty", "empty"),
    ("residual-rl replay info empty", "empty is no LeRobot dataset"),
    ("residual-rl replay export empty out", "empty is no LeRobot dataset"),
    ("residual-rl replay merge out none empty", "none is no LeRobot dataset"),
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
    assert call(monkeypatch, *command.split()) == 2
    said = capfd.readouterr()
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    lines = errors or said.err.splitlines() or caplog.messages
    assert len(lines) == 1 and says in lines[0], (lines, said)
    assert "Traceback" not in said.out + said.err
