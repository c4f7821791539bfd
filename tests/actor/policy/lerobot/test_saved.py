"""LeRobot policies as others saved, copied or spoiled them: understood, or refused in one line."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from actor.policy.contract import CheckpointError
from actor.policy.lerobot.policy import LeRobotBase
from actor.policy.make import make_base
from actor.policy.weights import Weights
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.read import read_demonstrations
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import make_policy, save, statistics
from tests.support.spoiled import LFS_POINTER, PAGE, cut_short

ROBOT = 18
WEIGHTS, CONFIG, BEFORE = "model.safetensors", "config.json", "policy_preprocessor.json"


@pytest.fixture(scope="module")
def episodes() -> list[Demonstration]:
    return read_demonstrations(Path("bases/PickCube-v1/demos.h5")).episodes[:2]


@pytest.fixture(scope="module")
def pristine(episodes, tmp_path_factory) -> dict[str, Path]:
    made = {}
    for kind in ("act", "diffusion"):
        made[kind] = save(tmp_path_factory.mktemp(kind), *make_policy(kind, episodes, ROBOT))
    return made


@pytest.fixture
def act(pristine, tmp_path: Path) -> Path:
    return shutil.copytree(pristine["act"], tmp_path / "act")


def load(folder: Path, *overrides: str) -> Any:
    config = make_config("base=lerobot", f"base.path={folder}", *overrides)
    return make_base(config.base, config.task, "cpu")


def refusal(folder: Path) -> str:
    """Why the policy is refused: one line that names its folder."""
    with pytest.raises(CheckpointError) as refused:
        load(folder)
    message = str(refused.value)
    assert "\n" not in message and str(folder) in message and len(message) < 800
    return message


def change(place: Path, **changes: Any) -> None:
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[Weights], Weights], name: str = WEIGHTS) -> None:
    save_file(change(load_file(folder / name)), folder / name)


def make_old(folder: Path, episodes: list[Demonstration]) -> None:
    """As LeRobot saved a policy before it had processors: statistics are buffers of layers of the policy."""
    for file in folder.glob("policy_*"):
        file.unlink()
    layers = {}
    for feature, parts in statistics(episodes, ROBOT).items():
        layer = "unnormalize_outputs" if feature == "action" else "normalize_inputs"
        layers |= {f"{layer}.buffer_{feature.replace('.', '_')}.{name}": part for name, part in parts.items()}
    change_weights(folder, lambda weights: weights | layers)


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_a_policy_from_before_processors_plans_as_one_with_them(
    kind, pristine, episodes, tmp_path, caplog
) -> None:
    folder = shutil.copytree(pristine[kind], tmp_path / kind)
    make_old(folder, episodes)
    with caplog.at_level(logging.INFO):
        old, new = load(folder), load(pristine[kind])
    assert "saved before LeRobot had processors, made them of its statistics" in caplog.text
    history = torch.from_numpy(episodes[0].observations[:2])[None, -old.obs_horizon :]
    torch.testing.assert_close(old.plan(history, base_keys(1)), new.plan(history, base_keys(1)))


def test_old_weights_beside_processors_are_understood(act, episodes, pristine) -> None:
    """The folder that people put together after LeRobot's migration, which may leave an empty config.json."""
    make_old(act, episodes)
    for file in pristine["act"].glob("policy_*"):
        shutil.copy(file, act)
    assert load(act).fingerprint == load(pristine["act"]).fingerprint


def test_statistics_that_lack_a_feature_name_the_feature_and_lerobots_command(act, episodes) -> None:
    make_old(act, episodes)
    change_weights(act, lambda weights: {k: v for k, v in weights.items() if "observation_state" not in k})
    says = "no statistics of observation.state: run python -m lerobot.processor.migrate_policy_normalization"
    assert says in refusal(act)


def test_the_migrations_command_is_one_of_this_lerobot() -> None:
    from lerobot.processor import migrate_policy_normalization

    assert callable(migrate_policy_normalization.main)


def test_processors_that_were_not_copied_are_named(act) -> None:
    for file in act.glob("policy_*"):
        file.unlink()
    assert "policy_preprocessor.json is missing: copy it" in refusal(act)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_that_wrappers_gave_are_understood(prefix, act, pristine) -> None:
    change_weights(act, lambda weights: {prefix + name: value for name, value in weights.items()})
    assert load(act).fingerprint == load(pristine["act"]).fingerprint


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"registry_name": "step_of_theirs"}, "does not know a step.*'step_of_theirs' not"),
        ({"class": "lerobot_policy_of_theirs.Step"}, "does not know a step.*lerobot_policy_of_theirs"),
        ({"registry_name": "normalizer_processor", "config": {"nonsense": 1}}, "cannot be loaded.*nonsense"),
        ({"registry_name": "device_processor", "state_file": "gone.safetensors"}, "gone.safetensors"),
        ({}, "processors cannot be loaded"),
    ],
)  # fmt: skip
def test_a_step_that_lerobot_cannot_make_is_refused(step, says, act) -> None:
    steps = json.loads((act / BEFORE).read_text())["steps"]
    change(act / BEFORE, steps=[step, *steps])
    assert re.search(says, refusal(act))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(LFS_POINTER), "a pointer of git-LFS.*git lfs pull"),
        (lambda path: path.write_bytes(PAGE), "a web page"),
        (lambda path: path.write_bytes(b""), "not a readable checkpoint: it is empty"),
        (lambda path: path.write_bytes(b"junk" * 9), "not a readable checkpoint .*copy it again"),
        (cut_short, "not a readable checkpoint .*copy it again"),
    ],
)
@pytest.mark.parametrize("which", ["model", "policy_preprocessor"])
def test_weights_and_statistics_that_were_not_downloaded_whole_are_refused(which, spoil, says, act) -> None:
    path = next(act.glob(f"{which}*.safetensors"))
    spoil(path)
    assert re.search(f"{path.name} is {says}", refusal(act))


def test_no_weights_at_all_are_named(act) -> None:
    (act / WEIGHTS).unlink()
    assert WEIGHTS in refusal(act)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ("[1]", "cannot use its config.json"),
        ("null", "cannot use its config.json"),
        ("{}", "Missing 'type'"),
        ('{"type": "wallx"}', "wallx"),
        ('{"type": ["act"]}', "cannot use its config.json"),
        ('{"type": "act", "mlp_hidden_dim": 1}', "mlp_hidden_dim"),
        ('{"type": "act", "chunk_size": "many"}', "chunk_size|many"),
    ],
)
def test_a_configuration_that_lerobot_cannot_use_is_refused(text, says, act) -> None:
    (act / CONFIG).write_text(text)
    message = refusal(act)
    assert re.search(says, message) and "LeRobot 0." in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(n_heads=0), "policy cannot be loaded"),
        (dict(dim_model=30), "size mismatch|cannot be loaded"),
        (dict(chunk_size=4, n_action_steps=4), "size mismatch"),
        (dict(use_peft=True), "PEFT adapter"),
        (dict(output_features={}), "gives no actions"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_with_the_weights_are_refused(changes, says, act) -> None:
    change(act / CONFIG, **changes)
    assert re.search(says, refusal(act))


def test_a_temporal_ensemble_is_not_done_and_the_log_says_so(act, caplog) -> None:
    change(act / CONFIG, temporal_ensemble_coeff=0.01, n_action_steps=1)
    load(act)
    assert "without its temporal ensemble" in caplog.text


@pytest.mark.parametrize(
    ("which", "tensor"),
    [("model", "model.action_head.weight"), ("policy_preprocessor", "observation.state.mean")],
)
def test_weights_and_statistics_that_are_not_finite_are_refused_by_name(which, tensor, act) -> None:
    def spoil(weights: Weights) -> Weights:
        weights[tensor][0] = torch.nan
        return weights

    change_weights(act, spoil, next(act.glob(f"{which}*.safetensors")).name)
    assert f"{tensor}[0" in refusal(act)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.floats()
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
)
KEYS = [
    "n_heads",
    "chunk_size",
    "dim_model",
    "input_features",
    "normalization_mapping",
    "type",
    "n_obs_steps",
]


def loads_or_is_refused(folder: Path) -> None:
    try:
        assert isinstance(load(folder), LeRobotBase)
    except CheckpointError as error:
        assert "\n" not in str(error)


@pytest.mark.slow
@settings(max_examples=30)
@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=2))
def test_any_configuration_is_understood_or_refused(pristine, tmp_path_factory, changes) -> None:
    folder = shutil.copytree(pristine["act"], tmp_path_factory.mktemp("changed") / "act")
    change(folder / CONFIG, **changes)
    loads_or_is_refused(folder)


@pytest.mark.slow
@settings(max_examples=30)
@given(data=st.data())
def test_any_bytes_are_understood_or_refused(pristine, tmp_path_factory, data) -> None:
    folder = shutil.copytree(pristine["act"], tmp_path_factory.mktemp("changed") / "act")
    path = data.draw(st.sampled_from(sorted(file for file in folder.iterdir() if file.is_file())))
    spoiled = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        spoiled[data.draw(st.integers(0, min(4000, len(spoiled) - 1)))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del spoiled[data.draw(st.integers(0, len(spoiled))) :]
    path.write_bytes(spoiled)
    loads_or_is_refused(folder)
