"""A run's policy in LeRobot does what it does here, with LeRobot and the plugin alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins

from config.main import Config
from config.process import UsageError
from launch.cli.group import cli
from learner.replay.prior.demonstration import Demonstration
from tests.support import lerobot_policies
from tests.support.plugins import ROOT, install
from tests.support.shared_runs import (
    ACTION,
    OBSERVATION,
    RELATIONS,
    Frame,
    diffusion_base,
    frames,
    ours,
    shared_run,
)

NAME = "lerobot_policy_residual_rl"
TORCH, NATIVE = 1e-6, 1e-5


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = install(tmp_path_factory.mktemp("installed"), NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        register_third_party_plugins()
        yield folder


def exported(run: Path, target: Path, *options: str) -> Path:
    result = CliRunner().invoke(
        cli, ["export", str(run), str(target), "--to", "lerobot", *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return target


def loaded(folder: Path) -> tuple[Any, Any, Any]:
    config = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    return policy, *make_pre_post_processors(config, str(folder))


def batch_of(observation: torch.Tensor) -> dict[str, Any]:
    return {"observation.state": observation[:, :8], "observation.environment_state": observation[:, 8:]}


def episodes_of(frame: Frame) -> torch.Tensor:
    rows = [
        [(seed >> shift) & 0xFFFF for shift in (48, 32, 16, 0)] + [at]
        for seed, at in zip(frame.seeds, frame.frames, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float32)


def largest_difference(config: Any, run: Path, folder: Path, *, told: bool, num_envs: int = 3) -> float:
    """Over episodes side by side. `told`: the batch says which they are; else the caller does."""
    policy, before, after = loaded(folder)
    act, differences = ours(config, run, num_envs), []
    first = config.learner.evaluation.first_seed
    for frame in frames(num_envs, 40, first):
        batch = batch_of(frame.observation)
        if told:
            batch["observation.episode"] = episodes_of(frame)
        elif frame.begins:
            policy.begin(frame.begins)
        action = after(policy.select_action(before(batch)))
        differences.append((action - act(frame)).abs().max().item())
    return max(differences)


RECIPES = {
    "default": ("base.native=false", "algo.residual_dims=[0,2]", RELATIONS),
    "native": ("base.native=true", "algo.residual_dims=[0,2]", RELATIONS),
    "scales": (
        "base.native=false", "algo.residual_dims=[0,2]", "algo.residual_scale=[0.3,1,0.05,1]", RELATIONS,
    ),
    "chunk": ("base.native=false", "algo=policy_decorator", "base.act_horizon=6", "algo.residual_every=2"),
    "proprioception": (
        "base.native=false", RELATIONS, "algo.residual_dims=null", "algo.sees=[proprioception]",
        "algo.proprioception=[[0,3],[5,8]]",
    ),
    "axis": (
        "base.native=false", "algo.residual_dims=null",
        "algo.relations=[{point: 0, tip: axis, origin: 2, turned: true}]",
    ),
    "padded": ("base.native=false", "base.pad_obs_to=27", "algo.relations=[]", "algo.residual_dims=null"),
    "zero": (
        "base=zero", "algo.relations=[]", "algo.residual_dims=null", "learner.demos=null",
        "algo.prior_fraction=0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_actions_are_those_of_the_run(tmp_path: Path, recipe: str) -> None:
    network = {"obs_dim": 27} if recipe == "padded" else {"normalize": recipe == "chunk"}
    base = diffusion_base(tmp_path / "base", **network)
    config = shared_run(tmp_path / "run", f"base.path={base}", *RECIPES[recipe])
    folder = exported(tmp_path / "run", tmp_path / "out")
    limit = NATIVE if recipe == "native" else TORCH
    assert largest_difference(config, tmp_path / "run", folder, told=True) <= limit


def small_run(folder: Path) -> Config:
    return shared_run(folder / "run", f"base.path={diffusion_base(folder / 'base')}", *RECIPES["default"])


def test_a_caller_can_begin_episodes_in_some_rows(tmp_path: Path) -> None:
    base = diffusion_base(tmp_path / "base")
    config = shared_run(tmp_path / "run", f"base.path={base}", *RECIPES["default"])
    folder = exported(tmp_path / "run", tmp_path / "out")
    assert largest_difference(config, tmp_path / "run", folder, told=False) <= TORCH


MIXED = "base.observation={observation.state: [[0,5],[9,12]], observation.environment_state: [[5,9],[12,20]]}"


@pytest.mark.parametrize(("kind", "mixed"), [("act", []), ("diffusion", []), ("act", [MIXED])])
def test_a_policy_of_lerobot_may_be_the_base(tmp_path: Path, kind: str, mixed: list[str]) -> None:
    rng = np.random.default_rng(0)
    shapes = {"observations": (21, OBSERVATION), "actions": (20, ACTION)}
    drawn = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    episodes = [Demonstration(**drawn, success=np.ones(20, bool))]
    lerobot_policies.save(tmp_path / "base", *lerobot_policies.make_policy(kind, episodes, state=8))
    words = ("base=lerobot", f"base.path={tmp_path / 'base'}", "algo.residual_dims=null", "algo.relations=[]")
    config = shared_run(tmp_path / "run", *words, *mixed)
    folder = exported(tmp_path / "run", tmp_path / "out")
    # A batch of two rows and one of three differ in LeRobot's own networks by rounding.
    assert largest_difference(config, tmp_path / "run", folder, told=True) <= NATIVE


def test_a_reset_begins_the_next_episodes_everywhere(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    policy, _, _ = loaded(exported(tmp_path / "run", tmp_path / "out"))
    observation = torch.randn(2, OBSERVATION)
    policy.reset()
    first = policy.select_action(batch_of(observation))
    policy.reset()
    second = policy.select_action(batch_of(observation))
    policy.reset()
    policy.begin([0, 1], seeds=[700, 701])
    assert not torch.equal(first, second)
    assert torch.equal(policy.select_action(batch_of(observation)), first)
    assert policy.config.first_seed == config.learner.evaluation.first_seed == 700


def test_the_chunk_is_what_an_episode_begins_with(tmp_path: Path) -> None:
    small_run(tmp_path)
    policy, _, _ = loaded(exported(tmp_path / "run", tmp_path / "out"))
    observation = torch.randn(2, OBSERVATION)
    chunk = policy.predict_action_chunk(batch_of(observation))
    assert chunk.shape == (2, 4, ACTION)
    assert torch.equal(policy.select_action(batch_of(observation)), chunk[:, 0])


def test_a_saved_policy_is_loaded_as_it_was(tmp_path: Path) -> None:
    small_run(tmp_path)
    policy, before, after = loaded(exported(tmp_path / "run", tmp_path / "out"))
    for part in (policy, before, after):
        part.save_pretrained(tmp_path / "again")
    again, _, _ = loaded(tmp_path / "again")
    batch = batch_of(torch.randn(2, OBSERVATION))
    assert torch.equal(again.select_action(batch), policy.select_action(batch))


def test_the_base_alone_is_trained_by_its_own_loss(tmp_path: Path) -> None:
    base = diffusion_base(tmp_path / "base", normalize=True)
    shared_run(tmp_path / "run", f"base.path={base}", *RECIPES["default"])
    policy, _, _ = loaded(exported(tmp_path / "run", tmp_path / "out", "--base-alone"))
    assert policy.config.residual_scale == 0
    frames_of = len(policy.config.action_delta_indices)
    batch = {
        "observation.state": torch.zeros(16, 2, 8), "observation.environment_state": torch.zeros(16, 2, 12),
        "action": torch.full((16, frames_of, ACTION), 0.3),
    }  # fmt: skip
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss, _ = policy.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    small_run(tmp_path)
    folder = exported(tmp_path / "run", tmp_path / "out")
    described = json.loads((folder / "config.json").read_text())
    described["hidden"] = [*described["hidden"], 8]
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(RuntimeError, match="residual"):
        loaded(folder)


def test_a_run_without_a_checkpoint_and_a_folder_that_exists_are_refused(tmp_path: Path) -> None:
    small_run(tmp_path)
    with pytest.raises(UsageError, match="exists"):
        exported(tmp_path / "run", tmp_path)
    with pytest.raises(UsageError, match="no checkpoint"):
        exported(tmp_path / "run", tmp_path / "out", "--checkpoint", "newest")
    (tmp_path / "run" / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(UsageError, match="has no residual yet"):
        exported(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_residual_that_sees_features_is_refused_since_the_plugin_has_none(tmp_path: Path) -> None:
    base = diffusion_base(tmp_path / "base")
    words = (*RECIPES["default"], "algo.sees=[proprioception,features]", "algo.proprioception=[[0,8]]")
    shared_run(tmp_path / "run", f"base.path={base}", *words)
    with pytest.raises(UsageError, match=r"sees features \(algo\.sees\), .* does not have: play it with"):
        exported(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


SCRIPT = """
import sys, torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins
register_third_party_plugins()
config = PreTrainedConfig.from_pretrained(sys.argv[1])
policy = get_policy_class(config.type).from_pretrained(sys.argv[1], config=config)
before, after = make_pre_post_processors(config, sys.argv[1])
batch = torch.load(sys.argv[2], weights_only=True)
torch.save(after(policy.select_action(before(batch))), sys.argv[3])
"""
WITHOUT = """
import sys
OURS = {"actor", "learner", "launch", "config", "protocol"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        missing = name.partition(".")[0] in OURS | {"mani_skill", "sapien", "zmq"}
        return None if missing else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def test_lerobot_and_the_plugin_alone_load_the_policy(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    exported(tmp_path / "run", tmp_path / "out")
    site = install(tmp_path / "site", NAME)
    (site / "sitecustomize.py").write_text(WITHOUT)
    frame = next(frames(2, 1, 700))
    torch.save(batch_of(frame.observation), tmp_path / "batch.pt")
    files = [f"{tmp_path / name}" for name in ("out", "batch.pt", "action.pt")]
    words = [sys.executable, "-W", "ignore", "-c", SCRIPT, *files]
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    action = torch.load(tmp_path / "action.pt", weights_only=True)
    assert (action - ours(config, tmp_path / "run", 2)(frame)).abs().max() <= TORCH


@pytest.mark.parametrize("name", ["noise", "tiles", "diffusion/ddim", "diffusion/unet"])
def test_the_plugins_copies_are_this_projects_files(name: str) -> None:
    copy = ROOT / "plugins" / NAME / NAME / "copied" / f"{Path(name).name}.py"
    assert copy.read_bytes() == (ROOT / "actor" / "policy" / f"{name}.py").read_bytes(), "copy it again"
