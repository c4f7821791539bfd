"""What a folder of a behaviour transformer may hold, and what is refused."""

import json
import math
import re

import pytest
import torch

from actor.policy.behaviour_transformer.checkpoint import load_transformer
from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import load_agent, save_agent
from tests.support.behaviour_transformer import ARGUMENTS, TOKEN, random_weights, save_transformer
from tests.support.diffusion import small_agent
from tests.support.spoiled import LFS_POINTER, cut_short

ATTENTION = "net._gpt_model.transformer.h.1.attn.c_attn.weight"
CENTRES = "net._cluster_centers"


def change_arguments(folder, **changes):
    """None removes a key."""
    found = json.loads((folder / "args.json").read_text()) | changes
    kept = {key: value for key, value in found.items() if value is not None}
    (folder / "args.json").write_text(json.dumps(kept))


def save_weights(folder, weights, key="agent"):
    torch.save({key: weights}, folder / "checkpoints" / "best.pt")


def refusal(folder) -> str:
    """Why the checkpoint is refused: one line that names its folder and says what to do."""
    with pytest.raises(CheckpointError) as refused:
        load_transformer(folder)
    message = str(refused.value)
    assert "\n" not in message and str(folder) in message and len(message) < 700
    return message


@pytest.mark.parametrize(
    "changes", [{}, {"context_window": 1, "n_layers": 1}, {"n_heads": 4, "n_clusters": 1}]
)
def test_sizes_are_those_of_the_arguments_and_of_the_weights(tmp_path, changes):
    save_transformer(tmp_path, obs_dim=9, act_dim=2, **changes)
    agent, sizes = load_transformer(tmp_path), ARGUMENTS | changes
    for key in (
        "context_window",
        "n_clusters",
        "n_layers",
        "n_heads",
        "n_embedding",
        "control_mode",
        "env_id",
    ):
        assert getattr(agent.spec, key) == sizes[key]
    assert (agent.spec.obs_dim, agent.spec.act_dim, agent.spec.token_dim) == (9, 2, TOKEN)


def test_arguments_as_others_write_them_are_understood(tmp_path):
    _, weights = save_transformer(tmp_path)
    change_arguments(tmp_path, context_window="4", env_id=None, exp_name="mine")
    wrapped = {f"module._orig_mod.{name}": value for name, value in weights.items()}
    save_weights(tmp_path, wrapped, "ema_agent")
    agent = load_transformer(tmp_path)
    assert agent.spec.env_id == ""
    assert all(torch.equal(value, weights[name]) for name, value in agent.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(context_window=None), r"args\.json: .*missing required field `context_window`: give what"),
        (dict(n_heads=None), "missing required field `n_heads`"),
        (dict(n_clusters=[8]), r"Expected `int`, got `array`.*\$\.n_clusters"),
        (dict(n_layers=0), r"n_layers"),
        (dict(control_mode={}), "control_mode"),
        (dict(context_window=20), "context_window=20, the weights are of 4: copy both from one training"),
        (dict(n_clusters=8), "n_clusters=8, the weights are of 3"),
        (dict(n_layers=3), "n_layers=3, the weights are of 2"),
        (dict(n_embedding=4096), "n_embedding=4096, the weights are of 8"),
        (dict(n_heads=3), "n_heads=3 does not divide n_embedding=8"),
        (dict(obs_mode="rgbd"), 'obs_mode="rgbd" is not implemented, only "state": choose another base'),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_refused_by_its_key(tmp_path, changes, says):
    save_transformer(tmp_path)
    change_arguments(tmp_path, **changes)
    assert re.search(says, refusal(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (ATTENTION, None, f"{re.escape(ATTENTION)} is missing: copy both"),
        (
            ATTENTION,
            torch.zeros(24, 9),
            r"c_attn.weight has the shape \[24, 9\], args.json asks for \[24, 8\]",
        ),
        (CENTRES, None, f"{CENTRES} is missing: no behaviour transformer"),
        (CENTRES, torch.zeros(3), f"{CENTRES} is missing: no behaviour transformer"),
        (CENTRES, torch.zeros(3, 4), r"preds.0.weight has the shape \[12, 6\], args.json asks for \[15, 6\]"),
        (CENTRES, torch.full((3, 3), math.nan), r"_cluster_centers\[0, 0\] is nan: its training diverged"),
        ("net.goal.weight", torch.zeros(3), "the network of args.json has no net.goal.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_their_name(tmp_path, name, value, says):
    weights = save_transformer(tmp_path)[1]
    found = {key: tensor for key, tensor in weights.items() if key != name}
    save_weights(tmp_path, found if value is None else found | {name: value})
    message = refusal(tmp_path)
    assert re.search(says, message) and "best.pt" in message


def test_a_folder_without_its_files_and_files_that_are_cut_are_refused(tmp_path):
    assert "args.json is missing. base.path must be a folder" in refusal(tmp_path)
    save_transformer(tmp_path)
    place = tmp_path / "checkpoints" / "best.pt"
    cut_short(place)
    assert "copy it again" in refusal(tmp_path)
    place.write_bytes(LFS_POINTER)
    assert "git lfs pull" in refusal(tmp_path)
    torch.save({"res_actor": random_weights()}, place)
    assert "neither 'ema_agent' nor 'agent'" in refusal(tmp_path)
    place.unlink()
    assert "best.pt is missing: copy it there" in refusal(tmp_path)
    (tmp_path / "args.json").write_text('{"n_clusters')
    assert "args.json is not JSON" in refusal(tmp_path)
    (tmp_path / "args.json").write_text("[1]")
    assert "Expected `object`, got `array`" in refusal(tmp_path)


def test_a_folder_of_the_other_kind_says_which_base_to_choose(tmp_path):
    save_agent(tmp_path / "diffusion", small_agent(), small_agent(), {})
    assert "has unet_dims, so this is no base=behaviour_transformer: choose base=diffusion" in refusal(
        tmp_path / "diffusion"
    )
    save_transformer(tmp_path / "transformer")
    with pytest.raises(CheckpointError, match="has n_clusters.*choose base=behaviour_transformer"):
        load_agent(tmp_path / "transformer")
