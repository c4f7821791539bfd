"""The published checkpoint layout."""

import json

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import load_agent, save_agent
from actor.policy.diffusion.network import DiffusionAgent
from tests.support.diffusion import small_spec


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
