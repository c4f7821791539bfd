"""LeRobot policies as bases: real ones, saved by LeRobot itself."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import make_policy_config
from lerobot.rewards.classifier.configuration_classifier import RewardClassifierConfig
from safetensors.torch import load_file, save_file

from actor.policy.contract import CheckpointError
from actor.policy.make import make_base
from actor.policy.noise import normal
from config.section import ConfigError
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.read import read_demonstrations
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import ENVIRONMENT, STATE, install_plugin, make_policy, save, train_act

# PickCube's 42 numbers: the robot's joints and the rest.
ROBOT = 18


@pytest.fixture(scope="module")
def episodes() -> list[Demonstration]:
    """Real demonstrations."""
    return read_demonstrations(Path("bases/PickCube-v1/demos.h5")).episodes[:5]


@pytest.fixture(scope="module")
def act(episodes: list[Demonstration], tmp_path_factory: pytest.TempPathFactory):
    policy, before, after = make_policy("act", episodes, ROBOT)
    losses = train_act(policy, before, episodes, ROBOT, steps=30)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    return save(tmp_path_factory.mktemp("act"), policy, before, after), policy, before, after


@pytest.fixture(scope="module")
def diffusion(episodes: list[Demonstration], tmp_path_factory: pytest.TempPathFactory):
    policy, before, after = make_policy("diffusion", episodes, ROBOT)
    return save(tmp_path_factory.mktemp("diffusion"), policy, before, after), policy, before, after


def load(folder: Path, *overrides: str):
    config = make_config("base=lerobot", f"base.path={folder}", *overrides)
    return make_base(config.base, config.task, "cpu")


def features(observation: torch.Tensor) -> dict[str, torch.Tensor]:
    return {STATE: observation[:, :ROBOT], ENVIRONMENT: observation[:, ROBOT:]}


def observations_of(episodes: list[Demonstration], frames: int) -> torch.Tensor:
    """(frames, sub-environments, 42)"""
    return torch.stack([torch.from_numpy(e.observations[:frames]) for e in episodes], dim=1)


def test_an_act_policy_trained_on_demonstrations_plans_as_lerobot_does(act, episodes) -> None:
    folder, policy, before, after = act
    base = load(folder)
    observation = observations_of(episodes, 1)[0]
    theirs = after(policy.predict_action_chunk(before(features(observation))))
    ours = base.plan(observation[:, None], base_keys(5))
    assert ours.shape == (5, 4, 7)
    torch.testing.assert_close(ours, theirs[:, :4], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_every_sub_environment_plans_as_lerobot_does_alone_in_an_episode(kind, request, episodes) -> None:
    """LeRobot's own select_action, one environment at a time, with its queues, over three plans."""
    folder, policy, before, after = request.getfixturevalue(kind)
    n_action_steps, policy.config.n_action_steps = policy.config.n_action_steps, 4
    base = load(folder)
    observations = observations_of(episodes[:3], 12)
    first = observations[:1].expand(base.obs_horizon - 1, -1, -1)
    padded = torch.cat([first, observations]).transpose(0, 1)
    for env in range(3):
        policy.reset()
        for frame in range(12):
            if frame % 4 == 0:
                keys = base_keys(3, frame)
                plan = base.plan(padded[:, frame : frame + base.obs_horizon], keys)[env : env + 1]
                drawn = torch.from_numpy(normal(keys, 8 * 7)).view(-1, 8, 7)[env : env + 1]
                noise = {"noise": drawn} if kind == "diffusion" else {}
                # Plans of other frames in between must not matter.
                base.plan(padded[:, 3 : 3 + base.obs_horizon], base_keys(3, frame + 1))
            action = after(policy.select_action(before(features(observations[frame, env][None])), **noise))
            torch.testing.assert_close(plan[:, frame % 4], action, atol=1e-5, rtol=0)
    policy.config.n_action_steps = n_action_steps


@pytest.mark.parametrize(
    ("kind", "actions", "overrides"),
    [
        ("tdmpc", 4, []),
        ("tdmpc", 2, ["base.overrides={n_action_repeats: 2, n_action_steps: 1}"]),
        ("gaussian_actor", 1, []),
    ],
)
def test_other_kinds_plan_what_lerobot_executes_first(kind, actions, overrides, episodes, tmp_path) -> None:
    """tdmpc lays its plans out in its own way and may repeat one action, gaussian_actor gives one action."""
    policy, before, after = make_policy(kind, episodes, ROBOT)
    base = load(save(tmp_path, policy, before, after), f"base.act_horizon={actions}", *overrides)
    if overrides:
        policy.config.n_action_repeats, policy.config.n_action_steps = 2, 1
    observation = observations_of(episodes, 1)[0]
    keys = base_keys(5)
    plan = base.plan(observation[:, None], keys)
    assert plan.shape == (5, actions, 7)
    policy.eval().reset()
    torch.manual_seed(int(keys[0]))
    for frame in range(actions):
        theirs = after(policy.select_action(before(features(observation))))
        torch.testing.assert_close(plan[:, frame], theirs, atol=1e-5, rtol=0)
    with pytest.raises(CheckpointError, match="base.act_horizon to at most"):
        load(tmp_path, "base.act_horizon=6", "algo.residual_every=6", *overrides)


def test_what_gives_no_actions_is_no_base(tmp_path: Path) -> None:
    make_policy_config("act", device="cpu").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="of type act, gives no actions"):
        load(tmp_path)


def test_a_reward_model_is_no_base(tmp_path: Path) -> None:
    RewardClassifierConfig(device="cpu").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="cannot use its config.json.*reward_classifier"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_plans_of_a_batch_equal_plans_alone(kind, request, episodes) -> None:
    base = load(request.getfixturevalue(kind)[0])
    history, keys = observations_of(episodes, base.obs_horizon).transpose(0, 1), base_keys(5)
    alone = torch.cat([base.plan(history[i : i + 1], keys[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(base.plan(history, keys), alone, atol=1e-5, rtol=0)


def test_sampling_repeats_with_the_keys_and_leaves_torchs_own_generator_alone(diffusion, episodes) -> None:
    base = load(diffusion[0])
    history = observations_of(episodes, base.obs_horizon).transpose(0, 1)
    torch.manual_seed(9)
    expected = torch.rand(2)
    torch.manual_seed(9)
    one, two = (base.plan(history, base_keys(5, frame)) for frame in (0, 4))
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(one, two)
    assert torch.equal(base.plan(history, base_keys(5)), one)
    assert load(diffusion[0]).fingerprint == base.fingerprint


def test_processors_count_in_the_fingerprint(act, episodes, tmp_path: Path) -> None:
    _, policy, _, after = act
    _, other, _ = make_policy("act", episodes[:1], ROBOT)
    save(tmp_path, policy, other, after)
    assert load(tmp_path).fingerprint != load(act[0]).fingerprint


def test_a_hub_id_is_read_from_the_hubs_cache(act, tmp_path: Path, monkeypatch) -> None:
    """As huggingface_hub leaves a download; nothing is asked over the network."""
    snapshot = tmp_path / "models--someone--act" / "snapshots" / ("0" * 40)
    shutil.copytree(act[0], snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load(Path("someone/act")).fingerprint == load(act[0]).fingerprint


def test_missing_weights_are_refused(act, tmp_path: Path) -> None:
    save(tmp_path, *act[1:])
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.action_head.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="action_head"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["task.env_id=PushCube-v1"], "42 observation numbers in all, the task has 35"),
        (["task.control_mode=pd_ee_delta_pos", "base.control_mode=pd_ee_delta_pose"], "pd_ee_delta_pose"),
        (["task.control_mode=pd_ee_delta_pos"], "7 action dimensions, the task has 42 and 4"),
        (["base.act_horizon=12"], "plans 8 actions, base.act_horizon asks for 12"),
        (["base.observation={observation.state: [0, 5]}"], r"observation.state of shape \[18\].*\[0, 5\)"),
        (["base.observation={observation.state: [[0, 5], [6, 9]]}"], r"gives it \[0, 5\), \[6, 9\)"),
        (
            ["base.observation={observation.state: proprioception}"],
            r"gives it .*\[9, 18\), \[19, 26\)",
        ),
        (["base.overrides={nonsense: 1}"], "base.overrides.nonsense"),
        (["base.path=nowhere/at-all", "base.control_mode=pd_ee_delta_pose"], "nowhere/at-all"),
    ],
)
def test_what_does_not_fit_is_refused_naming_both_sides(act, overrides, says, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=says):
        load(act[0], "algo.residual_every=4", *overrides)


def test_features_may_come_from_anywhere_in_the_observation(act, episodes) -> None:
    base = load(act[0])
    other = load(
        act[0], "task.env_id=PegInsertionSide-v1",
        "base.observation={observation.state: [1, 19], observation.environment_state: [19, 43]}",
    )  # fmt: skip
    history = observations_of(episodes, 1).transpose(0, 1)
    shifted = torch.nn.functional.pad(history, (1, 0))
    torch.testing.assert_close(
        other.plan(shifted, base_keys(5)), base.plan(history, base_keys(5)), atol=1e-6, rtol=0
    )


def test_a_feature_may_come_from_several_places(act, episodes) -> None:
    rest = "observation.environment_state: [[25, 42], [0, 1], [19, 25]]"
    other = load(act[0], f"base.observation={{observation.state: [[1, 10], [10, 19]], {rest}}}")
    history = observations_of(episodes, 1).transpose(0, 1)
    places = [*range(1, 19), *range(25, 42), 0, *range(19, 25)]
    torch.testing.assert_close(
        other.plan(history, base_keys(5)), load(act[0]).plan(history[..., places], base_keys(5))
    )


def test_proprioception_is_the_task_s_own_part(act, episodes) -> None:
    parts = "task.proprioception={PickCube-v1: [agent.qvel, agent.qpos]}"
    rest = "observation.environment_state: [18, 42]"
    words = parts, f"base.observation={{observation.state: proprioception, {rest}}}"
    history = observations_of(episodes, 1).transpose(0, 1)
    places = [*range(9, 18), *range(9), *range(18, 42)]
    torch.testing.assert_close(
        load(act[0], *words).plan(history, base_keys(5)),
        load(act[0]).plan(history[..., places], base_keys(5)),
    )


@pytest.mark.parametrize("given", ["[]", "[3]", "[1, 2, 3]", "[[0, 2], 5]", "robot", "[[0, 2, 3]]"])
def test_what_is_no_part_of_an_observation_is_one_line(given: str) -> None:
    with pytest.raises(ConfigError, match="observation"):
        make_config("base=lerobot", f"base.observation={{observation.state: {given}}}")


def test_a_plugins_policy_is_a_base(tmp_path: Path, monkeypatch) -> None:
    install_plugin(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import lerobot_policy_tenth.processor_tenth as processors
    from lerobot_policy_tenth.modeling_tenth import TenthConfig, TenthPolicy

    config = TenthConfig(
        input_features={STATE: PolicyFeature(FeatureType.STATE, (42,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))},
        device="cpu",
    )
    folder = save(tmp_path / "saved", TenthPolicy(config), *processors.make_tenth_pre_post_processors(config))
    for name in [name for name in sys.modules if name.startswith("lerobot_policy_tenth")]:
        del sys.modules[name]
    config.get_known_choices().pop("tenth")
    base = load(folder)
    history = torch.rand(3, 1, 42)
    plan = base.plan(history, base_keys(3))
    torch.testing.assert_close(plan, 0.1 * history[..., :7].repeat(1, 4, 1))


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="the extras are installed")
@pytest.mark.parametrize(
    ("kind", "extra"), [("smolvla", "smolvla"), ("pi0", "pi0"), ("pi05", "pi0"), ("groot", "groot")]
)
def test_a_missing_extra_is_named(kind: str, extra: str, tmp_path: Path) -> None:
    config = make_policy_config(
        kind,
        input_features={STATE: PolicyFeature(FeatureType.STATE, (42,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))},
        device="cpu",
    )
    config.save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=f"a {kind} policy, and a package.*setup_env.sh {extra}; 'transformers' is req"
    ):
        load(tmp_path)
