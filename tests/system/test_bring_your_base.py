"""The commands of docs/how-to/bring-your-base.md with keys that make them small, and what they leave."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from actor.policy.diffusion.checkpoint import save_agent
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from learner.replay.prior.read import read_demonstrations
from tests.support.behaviour_transformer import save_transformer
from tests.support.camera_policies import save_policy
from tests.support.documents import ROOT, commands
from tests.support.fetch import needs_fetch
from tests.support.helpers import left_running
from tests.support.lerobot_policies import make_policy, save

RUN = (
    "learner.total_frames=300", "algo.learning_starts=60", "algo.critic_warmup_updates=0",
    "algo.batch_size=32", "learner.evaluation.episodes=2", "learner.evaluation.num_envs=1",
    "actor.count=1", "actor.num_envs=2", "actor.rows_per_batch=8", "learner.publish_every_s=0.5",
    "learner.wandb.mode=disabled", "learner.evaluation.videos=0", "task.max_episode_steps=30",
    "name=small",
)  # fmt: skip
TRAIN = (
    "iterations=60", "unet_dims=[8,16]", "n_groups=4", "batch_size=16", "evaluation.episodes=2",
    "evaluation.num_envs=1", "evaluation.max_episode_steps=12",
)  # fmt: skip

SEES = (
    "--steps=4", "--batch_size=4", "--num_workers=0", "--policy.down_dims=[16,32]", "--log_freq=1",
    "--policy.diffusion_step_embed_dim=16", "--policy.num_inference_steps=2",
)  # fmt: skip


def page(*words: str) -> str:
    """The one command of the page that holds all of `words`, as `python -m launch`."""
    path = ROOT / "docs" / "how-to" / "bring-your-base.md"
    [found] = [c.words for c in commands(path) if all(word in c.words for word in words)]
    return found.replace("residual-rl", f"{sys.executable} -m launch", 1)


def run(repository: Path, command: str, *more: str, timeout_s: float = 500) -> str:
    """What `command` with further keys prints; it must succeed and leave nobody running."""
    words = [*shlex.split(command), *more]
    process = subprocess.Popen(
        words, cwd=repository, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output
    assert not left_running(process.pid)
    return output


@pytest.fixture
def places(tmp_path: Path, free_ports: tuple[int, int]) -> list[str]:
    return [
        f"runs_dir={tmp_path / 'runs'}",
        f"wire.experience_port={free_ports[0]}",
        f"wire.weights_port={free_ports[1]}",
    ]


def assert_ran(tmp_path: Path) -> None:
    summary = json.loads((tmp_path / "runs" / "small" / "summary.json").read_text())
    assert summary["frames"] >= 300 and summary["updates"] > 0
    assert summary["evaluation_episodes"] == 2


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_demonstrations_become_a_base_and_a_run(repository: Path, tmp_path: Path, places: list[str]) -> None:
    train = page("train-base").replace("StackCube-v1", "PickCube-v1")
    run(repository, train, "max_episodes=5", f"out={tmp_path / 'base'}", *TRAIN)
    assert json.loads((tmp_path / "base" / "evaluations.jsonl").read_text().splitlines()[-1])["step"] == 60
    start = page("base.path=bases/mine").replace("task=stack_cube", "")
    run(repository, start, f"base.path={tmp_path / 'base'}", *RUN, *places)
    assert_ran(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_a_published_checkpoint_of_maniskill2_runs(
    repository: Path, tmp_path: Path, places: list[str]
) -> None:
    torch.manual_seed(0)
    spec = DiffusionSpec(
        env_id="PegInsertionSide-v2", control_mode="pd_ee_delta_pose", obs_dim=50, act_dim=7, obs_horizon=2,
        pred_horizon=16, diffusion_step_embed_dim=64, unet_dims=(64, 128, 256), n_groups=8,
    )  # fmt: skip
    agent = DiffusionAgent(spec)
    save_agent(tmp_path / "published", agent, agent, {"act_horizon": 4})
    command = page("base.path=published base").replace("=published", f"={tmp_path / 'published'}")
    run(repository, command, *RUN, *places)
    assert_ran(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_a_published_behaviour_transformer_of_maniskill2_runs(
    repository: Path, tmp_path: Path, places: list[str]
) -> None:
    sizes = dict(context_window=20, n_clusters=8, n_layers=4, n_heads=4, n_embedding=256)
    save_transformer(tmp_path / "bet", 50, 7, env_id="PegInsertionSide-v2", **sizes)
    command = page("base=behaviour_transformer").replace("published-bet", f"{tmp_path / 'bet'}")
    run(repository, command, *RUN, *places)
    assert_ran(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_a_policy_of_lerobot_runs(repository: Path, tmp_path: Path, places: list[str]) -> None:
    episodes = read_demonstrations(repository / "bases" / "PickCube-v1" / "demos.h5").episodes[:3]
    folder = save(tmp_path / "act", *make_policy("act", episodes, 18))
    command = page("base.path=my-policy").replace("my-policy", str(folder))
    run(repository, command, *RUN, *places)
    assert_ran(tmp_path)


# Each simulator's process and the evaluator compile their shaders for half a minute or more.
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kept", ["image", "video"])
def test_a_policy_of_lerobot_that_looks_at_a_camera_runs(
    renderer: None, kept: str, repository: Path, tmp_path: Path, places: list[str]
) -> None:
    save_policy(tmp_path / "act", "act", ("observation.images.top",), size=(96, 96))
    command = page("base.path=my-camera-policy").replace("my-camera-policy", str(tmp_path / "act"))
    output = run(repository, command, *RUN, *places, f"learner.record_images={kept}", timeout_s=1200)
    assert "the processor draws" in output or any(Path("/dev").glob("nvidia[0-9]*"))
    assert_ran(tmp_path)
    replay = tmp_path / "runs" / "small" / "replay"
    dataset = LeRobotDataset("small", root=replay, video_backend="pyav")
    assert dataset.meta.camera_keys == ["observation.images.base_camera"]
    assert dataset.features["observation.images.base_camera"]["dtype"] == kept
    pictures = [dataset[i]["observation.images.base_camera"] for i in (0, 1, len(dataset) - 1)]
    assert all(picture.shape == (3, 96, 96) and picture.std() > 0.05 for picture in pictures)
    assert (pictures[0] - pictures[2]).abs().max() > 0.1, "the arm does not move"
    words = ["bash", "launch/viz.sh", str(tmp_path / "runs" / "small"), "last", "--save", str(tmp_path)]
    shown = subprocess.run(words, cwd=repository, capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert [path.stat().st_size > 1000 for path in tmp_path.glob("*.rrd")] == [True]


@needs_fetch
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_base_that_sees_is_trained_from_nothing_and_runs(
    repository: Path, tmp_path: Path, places: list[str]
) -> None:
    run(repository, page("residual-rl demos", "external_camera_0"), "episodes=3", f"out={tmp_path}")
    train = page("config/lerobot_train/sees.yaml").replace("demos/", f"{tmp_path}/")
    train = train.replace("bases/sees", f"{tmp_path}/sees")
    train = train.replace("lerobot-train", str(Path(sys.executable).with_name("lerobot-train")), 1)
    run(repository, train, *SEES)
    saved = json.loads((tmp_path / "sees/checkpoints/last/pretrained_model/config.json").read_text())
    assert {name: each["shape"] for name, each in saved["input_features"].items()} == {
        "observation.state": [10],
        "observation.images.external_camera_0": [3, 64, 64],
    }
    command = page("residual-rl run", "bases/sees").replace("bases/sees", f"{tmp_path}/sees")
    run(repository, command, *RUN, *places)
    assert_ran(tmp_path)
    spec = json.loads((tmp_path / "runs" / "small" / "spec.json").read_text())
    assert spec["features_dim"] == 2 * (10 + 64)  # two observations: the state, and 32 points in a picture


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_no_base_at_all_runs(repository: Path, tmp_path: Path, places: list[str]) -> None:
    run(repository, page("base=zero"), *RUN, *places)
    assert_ran(tmp_path)
