"""ManiSkill in LeRobot: the episodes of this project, and exported policies succeed where they do here."""

import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from lerobot.envs.factory import make_env
from lerobot.envs.utils import env_to_policy_features, preprocess_observation
from lerobot.utils.import_utils import register_third_party_plugins

from actor.evaluate_base import evaluate_base
from actor.simulators.maniskill import single_environment
from config.compose import compose_config, write_config
from config.main import Config
from launch.cli.group import cli
from tests.support.plugins import install

FIRST = 1000000


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("installed")
    for name in ("lerobot_policy_residual_rl", "lerobot_env_maniskill"):
        install(folder, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        register_third_party_plugins()
        yield folder


def settings(**more: Any) -> Any:
    from lerobot_env_maniskill import ManiSkillConfig

    return ManiSkillConfig(**more)


def made(config: Any, n_envs: int) -> gymnasium.vector.VectorEnv:
    return make_env(config, n_envs=n_envs)["maniskill"][0]


def test_episodes_are_those_of_this_project() -> None:
    envs = made(settings(max_episode_steps=6), 2)
    task = compose_config(["task.max_episode_steps=6"]).task
    ours = single_environment(task, FIRST, 2)
    rng = np.random.default_rng(0)
    for start in (FIRST, FIRST + 2):
        shown, _ = envs.reset(seed=[start, start + 1], options={"lerobot_new_rollout": True})
        expected, _ = ours.reset()
        for frame in range(6):
            state = np.concatenate([shown["agent_pos"][0], shown["environment_state"][0]])
            assert np.array_equal(state, expected)
            assert shown["episode"][0].tolist() == [0, 0, start >> 16, start & 0xFFFF, frame]
            action = rng.uniform(-1, 1, (2, 7)).astype(np.float32)
            shown, _, terminated, truncated, _ = envs.step(action)
            expected, _, _, _, _ = ours.step(action[0])
        assert truncated.all() and not terminated.any()
    envs.close()
    ours.close()


def test_lerobot_sees_features_seed_and_frame() -> None:
    config = settings(robot_state_dim=None)
    envs = made(config, 1)
    features = env_to_policy_features(config)
    assert {name: feature.shape for name, feature in features.items()} == {
        "observation.state": (42,),
        "action": (7,),
    }
    shown, _ = envs.reset(seed=[2**24 + 3], options={"lerobot_new_rollout": True})
    batch = preprocess_observation(shown)
    assert batch["observation.episode"].tolist() == [[0, 0, 256, 3, 0]]
    assert envs.call("_max_episode_steps") == (100,) and envs.call("render")[0].shape == (64, 64, 3)
    envs.close()


def test_an_episode_that_is_over_costs_nothing_and_stays_as_it_ended() -> None:
    envs = made(settings(max_episode_steps=2), 1)
    envs.reset(seed=[5], options={"lerobot_new_rollout": True})
    still = np.zeros((1, 7), np.float32)
    ended = [envs.step(still) for _ in range(4)]
    assert [bool(step[3][0]) for step in ended] == [False, True, True, True]
    assert all(np.array_equal(step[0]["agent_pos"], ended[1][0]["agent_pos"]) for step in ended[2:])
    envs.close()


def test_the_hubs_file_makes_environments_by_itself() -> None:
    from lerobot_env_maniskill import env

    made_by_hub = env.make_env(n_envs=2, use_async_envs=False)
    assert made_by_hub.num_envs == 2 and made_by_hub.single_action_space.shape == (7,)
    made_by_hub.close()


def shipped(folder: Path, *words: str) -> Config:
    """A run of the shipped base with a residual of small random weights."""
    import msgspec

    from actor.policy.checkpoint_file import write_safetensors
    from actor.policy.residual import ResidualActor

    config = compose_config([f"runs_dir={folder.parent}", f"name={folder.name}", "base.native=false", *words])
    folder.mkdir()
    write_config(folder / "config.yaml", config)
    torch.manual_seed(0)
    assert config.algo.plays is not None
    residual = ResidualActor(config.algo.plays, 42, 7)
    residual.head.weight.data += 0.02 * torch.randn_like(residual.head.weight)
    content = {
        "version": 1, "updates": 1, "algo": msgspec.to_builtins(config.algo), "actor": residual.state_dict()
    }  # fmt: skip
    write_safetensors(folder / "checkpoints" / "best.safetensors", content)
    return config


def successes_here(config: Config, residual: Path) -> list[bool]:
    result = evaluate_base(config, residual, threading.Event())
    assert result is not None
    return result.successes


def successes_there(policy: Path, out: Path, episodes: int, batch: int, *words: str) -> list[bool]:
    """With lerobot-eval itself, in this process."""
    from lerobot.scripts import lerobot_eval

    argv = [
        "lerobot-eval", f"--policy.path={policy}", "--env.type=maniskill", f"--seed={FIRST}",
        f"--eval.n_episodes={episodes}", f"--eval.batch_size={batch}", "--eval.use_async_envs=false",
        f"--output_dir={out}", *words,
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        patch.setattr(lerobot_eval, "init_logging", logging.getLogger)
        lerobot_eval.main()
    info = json.loads((out / "eval_info.json").read_text())
    return info["per_task"][0]["metrics"]["successes"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("episodes", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_lerobot_eval_succeeds_where_our_evaluation_does(tmp_path: Path, episodes: int) -> None:
    limit = 100 if episodes == 50 else 10
    words = (f"task.max_episode_steps={limit}", "learner.evaluation.num_envs=2", "actor.processes=1")
    config = shipped(tmp_path / "run", *words, f"learner.evaluation.episodes={episodes}")
    exporting = [str(tmp_path / "run"), str(tmp_path / "policy"), "--to", "lerobot"]
    assert CliRunner().invoke(cli, ["export", *exporting], catch_exceptions=False).exit_code == 0
    there = successes_there(
        tmp_path / "policy", tmp_path / "out", episodes, 2, f"--env.max_episode_steps={limit}"
    )
    assert there == successes_here(config, tmp_path / "run" / "checkpoints" / "best.safetensors")
    assert episodes < 50 or 5 < sum(there) < 45
