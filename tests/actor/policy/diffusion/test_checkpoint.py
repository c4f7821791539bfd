"""The published checkpoint layout."""

import json
import logging
import math
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import load_agent, save_agent
from actor.policy.diffusion.network import DiffusionAgent
from tests.support.diffusion import base_keys, small_agent, small_spec
from tests.support.spoiled import LFS_POINTER, cut_short


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    agent, ema = DiffusionAgent(small_spec()), DiffusionAgent(small_spec())
    save_agent(tmp_path, agent, ema, {"iterations": 3})
    return tmp_path, agent, ema


def test_a_checkpoint_survives_its_folder_and_ema_comes_first(checkpoint):
    folder, _, ema = checkpoint
    loaded = load_agent(folder)
    assert loaded.spec == small_spec()
    for name, value in ema.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_without_ema_the_plain_agent_is_loaded(checkpoint):
    folder, agent, _ = checkpoint
    torch.save({"agent": agent.state_dict()}, folder / "checkpoints" / "best.pt")
    loaded = load_agent(folder)
    assert torch.equal(
        loaded.state_dict()["noise_pred_net.final_conv.1.bias"],
        agent.state_dict()["noise_pred_net.final_conv.1.bias"],
    )


def spoil(folder, kind):
    weights = folder / "checkpoints" / "best.pt"
    if kind == "no folder":
        (folder / "args.json").unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "not a checkpoint":
        weights.write_bytes(b"\x00" * 100)
    elif kind == "missing keys":
        content = torch.load(weights, weights_only=True)
        del content["ema_agent"]["noise_pred_net.final_conv.0.block.0.weight"]
        torch.save(content, weights)
    elif kind == "other sizes":
        arguments = json.loads((folder / "args.json").read_text())
        (folder / "args.json").write_text(json.dumps(arguments | {"unet_dims": [16, 64]}))
    elif kind == "no agent":
        torch.save({"model": {}}, weights)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no folder", "args.json is missing"),
        ("no weights", "best.pt is missing"),
        ("not a checkpoint", "not a readable checkpoint"),
        ("missing keys", "do not fit its args.json"),
        ("other sizes", "do not fit its args.json"),
        ("no agent", "neither 'ema_agent' nor 'agent'"),
    ],
)
def test_a_wrong_checkpoint_is_one_clear_error(checkpoint, kind, says):
    folder = checkpoint[0]
    spoil(folder, kind)
    with pytest.raises(CheckpointError, match=says):
        load_agent(folder)


def refusal(folder: Path) -> str:
    """Why the checkpoint is refused: one line that names its folder."""
    with pytest.raises(CheckpointError) as refused:
        load_agent(folder)
    message = str(refused.value)
    assert "\n" not in message and "\x1b" not in message and str(folder) in message and len(message) < 700
    return message


def change_arguments(folder: Path, **changes: Any) -> None:
    place = folder / "args.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(obs_horizon=None), "Expected `int`, got `null`.*obs_horizon"),
        (dict(obs_horizon=[2]), "obs_horizon"),
        (dict(obs_horizon=0), "obs_horizon"),
        (dict(obs_horizon=3), "obs_horizon=3"),
        (dict(obs_horizon=1), "obs_dim=5"),
        (dict(obs_horizon=2.5), "obs_horizon"),
        (dict(unet_dims="16,32"), "unet_dims"),
        (dict(unet_dims=[]), "unet_dims"),
        (dict(unet_dims=[16, None]), "unet_dims"),
        (dict(unet_dims=[16, 1 << 40]), "unet_dims"),
        (dict(unet_dims=[16, 4096]), r"unet_dims=\[16,4096\], the weights are of \[16,32\]"),
        (dict(n_groups=5), "divisible"),
        (dict(pred_horizon=7), "pred_horizon=7 cannot be halved between the 2 levels"),
        (dict(diffusion_step_embed_dim=2), "diffusion_step_embed_dim=2"),
        (dict(control_mode=None), "control_mode"),
        (dict(control_mode={}), "control_mode"),
        (dict(normalize="perhaps"), "normalize"),
        (dict(normalize=True), "action_center is missing"),
        (dict(act_dim=4), "act_dim=4"),
        (dict(prediction_type="velocity"), "prediction_type"),
        (dict(beta_schedule="linear"), 'beta_schedule="linear" is not implemented, only "squaredcos_cap_v2"'),
        (dict(clip_sample=False), "clip_sample=false is not implemented"),
        (dict(num_train_timesteps=1000), "num_train_timesteps=1000"),
        (dict(noise_scheduler_type="FlowMatch"), '"DDPM" or "DDIM"'),
        (dict(obs_mode="rgb+depth"), 'obs_mode="rgb\\+depth"'),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_refused_by_its_key(checkpoint, changes, says):
    change_arguments(checkpoint[0], **changes)
    assert re.search(says, refusal(checkpoint[0]))


@pytest.mark.parametrize(
    "text", ["[1, 2]", "null", '"args"', "3", "{", "", "[" * 100_000, "\x00", '{"a": NaN}']
)
def test_arguments_that_are_no_object_are_refused(checkpoint, text):
    (checkpoint[0] / "args.json").write_text(text)
    assert "args.json" in refusal(checkpoint[0])


def test_arguments_that_were_cut_are_to_be_copied_again(checkpoint):
    (checkpoint[0] / "args.json").write_text('{"env_id": "Pick')
    assert re.search(r"args\.json is not JSON: .*: copy it again", refusal(checkpoint[0]))


def test_arguments_as_others_write_them_are_understood(checkpoint):
    """Numbers as strings, a byte order mark, the training's own keys, and a scheduler that DDIM samples."""
    folder, _, _ = checkpoint
    change_arguments(
        folder, obs_horizon="2", env_id=None, exp_name=None, noise_scheduler_type="DDPM", act_horizon=8,
        beta_schedule="squaredcos_cap_v2", clip_sample=True, lr=math.nan, obj_ids=[],
    )  # fmt: skip
    place = folder / "args.json"
    place.write_text(place.read_text(), encoding="utf-8-sig")
    assert load_agent(folder).spec == small_spec(env_id="")


CONVOLUTION = "noise_pred_net.final_conv.1.weight"
WRAPPED = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]


@pytest.mark.parametrize("prefix", WRAPPED)
def test_names_that_wrappers_gave_are_understood_and_the_log_says_so(checkpoint, prefix, caplog):
    folder, _, ema = checkpoint
    wrapped = {prefix + name: value for name, value in ema.state_dict().items()}
    torch.save({"ema_agent": wrapped}, folder / "checkpoints" / "best.pt")
    with caplog.at_level(logging.INFO):
        loaded = load_agent(folder)
    assert all(torch.equal(value, ema.state_dict()[name]) for name, value in loaded.state_dict().items())
    removed = " and ".join(sorted(prefix.strip(".").split(".")))
    assert f"best.pt, ema_agent: removed {removed} from the names" in caplog.text


def test_an_averaged_model_and_a_compiled_network_are_understood(checkpoint):
    folder, agent, ema = checkpoint
    averaged = torch.optim.swa_utils.AveragedModel(ema).state_dict()
    torch.save({"ema_agent": averaged}, folder / "checkpoints" / "best.pt")
    assert torch.equal(next(load_agent(folder).parameters()), next(ema.parameters()))
    inner = {
        f"noise_pred_net._orig_mod.{n.partition('.')[2]}": value for n, value in agent.state_dict().items()
    }
    torch.save({"agent": inner}, folder / "checkpoints" / "best.pt")
    assert torch.equal(next(load_agent(folder).parameters()), next(agent.parameters()))


def test_what_else_a_training_keeps_beside_the_weights_does_not_matter(checkpoint):
    folder, agent, ema = checkpoint
    more = {"args": Namespace(seed=1), "success": np.float64(0.5), "rng": np.random.default_rng(0)}
    torch.save(
        {"agent": agent.state_dict(), "ema_agent": ema.state_dict(), **more},
        folder / "checkpoints" / "best.pt",
    )
    assert torch.equal(next(load_agent(folder).parameters()), next(ema.parameters()))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda agent: agent, "best.pt holds one .*DiffusionAgent: save a state dict"),
        (lambda agent: {"ema_agent": agent}, "ema_agent is no state dict"),
        (lambda agent: {"agent": [1, 2]}, "agent is no state dict"),
        (lambda agent: {"agent": {"weight": torch.rand(3, device="meta")}}, "agent is no state dict"),
        (lambda agent: {"agent": torch.rand(3)}, "agent is no state dict"),
        (lambda agent: {"agent": {}}, "is missing: no U-Net"),
        (lambda agent: {"agent": {"noise_pred_net.final_conv.1.bias": np.float64(1)}}, "no state dict"),
        (lambda agent: {"agent": agent.state_dict() | {"visual_encoder.0.bias": torch.rand(3)}}, "visual"),
        (lambda agent: {"agent": agent.state_dict() | {CONVOLUTION: torch.rand(3)}}, f"{CONVOLUTION} has"),
        (lambda agent: [agent.state_dict()], "best.pt holds one list"),
        (lambda agent: torch.rand(3), "best.pt holds one Tensor"),
        (lambda agent: None, "best.pt holds one NoneType"),
        (lambda agent: {"ema_agent": {"decay": 0.9, "shadow_params": []}}, "no state dict"),
    ],
)  # fmt: skip
def test_what_is_no_state_dict_of_the_network_is_refused(checkpoint, content, says):
    folder, agent, _ = checkpoint
    torch.save(content(agent), folder / "checkpoints" / "best.pt")
    assert re.search(says, refusal(folder))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_by_the_tensors_name(checkpoint, value):
    folder, _, ema = checkpoint
    weights = ema.state_dict()
    weights[CONVOLUTION][0, 0, 0] = value
    torch.save({"ema_agent": weights}, folder / "checkpoints" / "best.pt")
    assert f"{CONVOLUTION}[0, 0, 0] is {value}" in refusal(folder)


def test_ranges_without_an_extent_are_refused(tmp_path):
    agent = small_agent(normalize=True)
    agent.obs_half_range.zero_()
    save_agent(tmp_path, agent, agent, {})
    assert "not finite" in refusal(tmp_path)


def test_a_pointer_and_a_part_of_a_file_are_refused(checkpoint):
    place = checkpoint[0] / "checkpoints" / "best.pt"
    cut_short(place)
    assert "copy it again" in refusal(checkpoint[0])
    place.write_bytes(LFS_POINTER)
    assert "git lfs pull" in refusal(checkpoint[0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = [
    "control_mode", "obs_horizon", "pred_horizon", "diffusion_step_embed_dim", "unet_dims", "n_groups",
    "env_id", "prediction_type", "normalize", "obs_dim", "act_dim", "beta_schedule", "clip_sample",
    "num_train_timesteps",
]  # fmt: skip


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> tuple[Path, bytes, bytes]:
    folder = tmp_path_factory.mktemp("pristine")
    save_agent(folder, small_agent(unet_dims=(4, 8)), small_agent(unet_dims=(4, 8)), {})
    return folder, (folder / "args.json").read_bytes(), (folder / "checkpoints" / "best.pt").read_bytes()


def loads_or_is_refused(folder: Path) -> None:
    """The loader returns a base that plans, or raises its one error."""
    try:
        agent = load_agent(folder)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        base = DiffusionBase(agent, act_horizon=1, inference_steps=2)
        plan = base.plan(torch.zeros(1, agent.spec.obs_horizon, agent.spec.obs_dim), base_keys(1))
        assert plan.shape == (1, 1, agent.spec.act_dim)


@given(changes=st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=2))
@example(changes={"diffusion_step_embed_dim": 1})
@example(changes={"unet_dims": [4, 8] * 4})
@example(changes={"unet_dims": [4096] * 8})
def test_any_arguments_are_understood_or_refused(pristine, changes):
    folder, arguments, weights = pristine
    (folder / "checkpoints" / "best.pt").write_bytes(weights)
    (folder / "args.json").write_text(json.dumps(json.loads(arguments) | changes))
    loads_or_is_refused(folder)


@given(data=st.data())
def test_any_bytes_are_understood_or_refused(pristine, data):
    folder, arguments, weights = pristine
    (folder / "args.json").write_bytes(arguments)
    spoiled = bytearray(weights)
    for _ in range(data.draw(st.integers(0, 4), label="changes")):
        # The pickle and the archive's directory are at both ends.
        at = data.draw(st.integers(0, 4000) | st.integers(-12000, -1) | st.integers(0, len(weights) - 1))
        spoiled[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans(), label="cut"):
        del spoiled[data.draw(st.integers(0, len(weights))) :]
    (folder / "checkpoints" / "best.pt").write_bytes(spoiled)
    loads_or_is_refused(folder)
