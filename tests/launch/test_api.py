"""What notebooks call does what the commands do, with this project's errors, and changes nothing in them."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actor.evaluation import EvaluationResult, Outcome
from actor.policy.decorated import EvaluatedPolicy
from actor.policy.residual import ResidualActor
from config.compose import read_config
from config.main import Config
from config.process import FailedError, StopRequest, UsageError
from config.section import ConfigError
from launch.api import evaluate, load_policy, run
from launch.evaluation.subject import Subject
from launch.loaded_policy import LoadedPolicy
from launch.run import launcher
from launch.run.processes import Command
from launch.run.trained import config_of_run
from learner.intervals import wilson_interval
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config
from tests.support.shared_runs import OBSERVATION, RELATIONS, diffusion_base, frames, ours, shared_run

# Prior data would be read first, which takes seconds.
WORDS = {
    "algo.prior_fraction": 0, "algo.scale_observations": "off", "tracking": [], "name": "one",
    "learner.evaluation.videos": 0,
}  # fmt: skip
LEARNER = """
import json, pathlib, sys
print("frames", 100, flush=True)
folder = pathlib.Path(sys.argv[1])
(folder / "summary.json").write_text(json.dumps({"base_success": 0.5, "final_success": 0.9, "frames": 100}))
"""


@pytest.fixture
def pretended(
    tmp_path: Path, free_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, Any]]:
    """The overrides of a run whose learner is the given program."""

    def make(program: str) -> dict[str, Any]:
        argv = (sys.executable, "-c", program, str(tmp_path / "one"))
        monkeypatch.setattr(launcher, "make_commands", lambda *_: [Command("learner", "learner", argv)])
        ports = dict(zip(("wire.experience_port", "wire.weights_port"), free_ports, strict=True))
        return WORDS | ports | {"runs_dir": tmp_path}

    return make


def test_a_run_is_a_record_and_a_folder(pretended: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    lines: list[str] = []
    finished = run(pretended(LEARNER), show=lines.append)
    assert finished.folder == tmp_path / "one" and finished.frames == 100
    assert finished.base is not None and finished.final is not None
    assert finished.final == (0.9, *wilson_interval(0.9, 100), 100) and finished.base.rate == 0.5
    assert str(finished.base) == "50% (40% to 60%) of 100 episodes"
    assert lines == ["learner   | frames 100"]
    assert read_config(finished.folder / "launch.yaml") == finished.config
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


@pytest.mark.parametrize(("code", "kind"), [(1, FailedError), (2, UsageError)])
def test_a_run_that_fails_raises_its_one_line(
    code: int, kind: type, pretended: Callable[[str], dict[str, Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    program = f"import sys; print('error: no room for a row', file=sys.stderr); sys.exit({code})"
    with pytest.raises(kind, match="run one ended early: no room for a row$"):
        run(pretended(program))
    assert capfd.readouterr().out == ""


def test_an_interrupt_ends_the_processes_and_frees_the_folder(
    pretended: Callable[[str], dict[str, Any]],
) -> None:
    pids: list[int] = []

    def show(line: str) -> None:
        if "|" in line and not pids:
            pids.append(int(line.rpartition(" ")[2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pretended("import os, time; print(os.getpid(), flush=True); time.sleep(60)"), show=show)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert run(pretended(LEARNER)).frames == 100


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["learner.total_framse=3"], "total_framse"),
        ({"learner.total_frames": "many"}, "learner.total_frames"),
        (["task"], "'task' is no key=value"),
        ("name=one", r"overrides are a list of words or a mapping: \['name=one'\]"),
        (["cluster=slurm"], "leave cluster=... to residual-rl run and submit"),
        (["base.path=hf:nobody"], "hf:nobody is no name"),
    ],
)
def test_a_wrong_word_is_one_line(overrides: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        run(overrides)
    assert "\n" not in str(refused.value)


def small_run(folder: Path, *words: str) -> Config:
    """In `folder`/one."""
    base = diffusion_base(folder / "base")
    return shared_run(folder / "one", f"base.path={base}", "algo.residual_dims=null", RELATIONS, *words)


def test_an_evaluation_is_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Subject] = []

    def play(subject: Subject, processes: int, stop: StopRequest) -> tuple[EvaluationResult, list[Outcome]]:
        asked.append(subject)
        settings = subject.config.learner.evaluation
        seeds = range(settings.first_seed, settings.first_seed + settings.episodes)
        outcomes = [Outcome(seed, seed % 4 != 0, None, 30, [0.0]) for seed in seeds]
        return EvaluationResult.of(outcomes, 1.0), outcomes

    monkeypatch.setattr("launch.evaluation.evaluate.play", play)
    small_run(tmp_path)
    found = evaluate(tmp_path / "one", {"task.max_episode_steps": 7}, episodes=8, first_seed=40)
    assert found.successes == {seed: seed % 4 != 0 for seed in range(40, 48)}
    assert found.success == pytest.approx((0.75, *wilson_interval(0.75, 8), 8), abs=1e-4)
    assert found.mean_frames == 30 and asked[0].config.task.max_episode_steps == 7
    assert asked[0].residual == tmp_path / "one/checkpoints/best.safetensors"
    evaluate(tmp_path / "one", base_alone=True)
    assert asked[1].residual is None
    with pytest.raises(UsageError, match="no residual nothing.pt"):
        evaluate(tmp_path / "one", residual="nothing.pt")


def test_a_loaded_policy_acts_as_in_an_evaluation(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    policy = load_policy(tmp_path / "one", num_envs=2)
    for _ in range(2):
        policy.reset()
        theirs = ours(config, tmp_path / "one", num_envs=2)
        for number, frame in enumerate(frames(2, 20, config.learner.evaluation.first_seed)):
            ended = torch.zeros(2, dtype=torch.bool)
            ended[frame.begins] = True
            if frame.begins and number > 0:
                policy.reset(ended.numpy())
            action = policy.act(frame.observation.numpy())
            assert torch.equal(action, theirs(frame))
    plan = policy.plan()
    assert plan.shape == (2, config.algo.residual_every, policy.action_dim)
    assert ((plan == action[:, None]).all(2).sum(1) >= 1).all()


def test_what_does_not_fit_a_loaded_policy_is_said(tmp_path: Path) -> None:
    small_run(tmp_path)
    policy = load_policy(tmp_path / "one")
    with pytest.raises(UsageError, match="no plan before the first observation"):
        policy.plan()
    assert policy.act(torch.zeros(OBSERVATION)).shape == (1, policy.action_dim)
    with pytest.raises(UsageError, match=r"observation of shape \(1, 3\): this policy takes \(1, 20\)"):
        policy.act([[0.0, 0.0, 0.0]])
    with pytest.raises(UsageError, match="no run runs/nothing"):
        load_policy("nothing")
    with pytest.raises(ConfigError, match="max_episode_steps"):
        load_policy(tmp_path / "one", ["task.max_episode_steps=0"])


def test_a_policy_that_sees_pictures_says_whose_and_acts_on_them() -> None:
    config = make_config(
        "task.cameras=[top,top_depth]", "task.camera_size=[32,16]", "learner.demos=null",
        "algo.prior_fraction=0", "algo.sees=[pictures]", "algo.last_layer_gain=1", "algo.residual_every=4",
        "algo.pictures.channels=[4]", "algo.pictures.depth_range=[0,65]",
    )  # fmt: skip
    base = CountingBase()
    residual = ResidualActor(config.algo, base.observation_dim, base.action_dim)

    def act(distance: int) -> torch.Tensor:
        policy = EvaluatedPolicy(
            base, residual, num_envs=1, residual_every=4, residual_scale=1.0, device="cpu", first_seed=0
        )
        loaded = LoadedPolicy(config, base, policy, 1)
        assert loaded.cameras == ("top", "top_depth")
        colours, depth = np.zeros((16, 32, 3), np.uint8), np.full((16, 32, 1), distance, np.uint16)
        with pytest.raises(UsageError, match="looks at top, top_depth: no images of top_depth"):
            loaded.act(torch.zeros(3), {"top": colours})
        with pytest.raises(UsageError, match=r"images of top_depth of shape .*takes \(1, 16, 32, 1\)"):
            loaded.act(torch.zeros(3), {"top": colours, "top_depth": colours})
        return loaded.act(torch.zeros(3), {"top": colours, "top_depth": depth})

    assert torch.equal(act(40000), act(40000))
    assert not torch.equal(act(40000), act(20000)) and not torch.equal(act(40000), act(40000 - 2**15))


def test_a_runs_folder_does_not_say_whom_to_trust(tmp_path: Path) -> None:
    config = small_run(tmp_path, "trust_remote_code=true")
    assert config.trust_remote_code
    assert not config_of_run(f"{tmp_path / 'one'}", []).trust_remote_code
    assert config_of_run(f"{tmp_path / 'one'}", ["trust_remote_code=true"]).trust_remote_code
