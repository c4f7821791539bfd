"""Policies that need more than LeRobot brings, of tiny random weights: skipped without the extras.

In an environment of its own, after `bash launch/setup_env.sh smolvla`, `pi0`, `groot` and `fetch`:
python -m pytest -m slow tests/actor/policy/lerobot/test_extras.py.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.features import require_features, rounded
from actor.policy.lerobot.policy import NOISE_SHAPES
from actor.policy.make import make_base
from actor.policy.noise import normal
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import STATE

pytest.importorskip("transformers", reason="the extras are not installed")
from tests.support.large_policies import KINDS, SIZE, TOP, save_policy  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Folder, policy and processors, saved by LeRobot."""
    return save_policy(request.param, tmp_path, monkeypatch, states=18, actions=7)


def load(folder: Path):
    config = make_config(
        "base=lerobot", f"base.path={folder}", "task.cameras=[base_camera]",
        f"task.camera_size=[{SIZE},{SIZE}]", f"base.cameras={{{TOP}: base_camera}}",
        f"base.observation={{{STATE}: [0, 18]}}", "base.instruction=pick",
    )  # fmt: skip
    return make_base(config.base, config.task, "cpu")


def test_a_plan_is_what_lerobot_executes(saved) -> None:
    folder, policy, before, after = saved
    base = load(folder)
    generator, keys = torch.Generator().manual_seed(1), base_keys(3)
    observation = torch.randn(3, 1, 42, generator=generator)
    pictures = torch.randint(0, 256, (3, 1, SIZE, SIZE, 3), generator=generator).to(torch.uint8)
    plan = base.plan(observation, keys, {"base_camera": pictures})
    assert plan.shape == (3, 4, 7)
    seen = {
        STATE: observation[:, 0, :18],
        TOP: pictures[:, 0].movedim(-1, -3).contiguous() / 255,
        "task": ["pick"] * 3,
    }
    policy.reset()
    if policy.config.type in NOISE_SHAPES:
        frames, actions = NOISE_SHAPES[policy.config.type](policy.config)
        noise = torch.from_numpy(normal(keys, frames * actions)).view(3, frames, actions)
        policy.model.sample_noise = lambda shape, device: noise
    torch.manual_seed(int(keys[0]))
    for frame in range(4):
        theirs = after(policy.select_action(before(dict(seen))))
        torch.testing.assert_close(plan[:, frame], theirs, atol=1e-5, rtol=0)
    darker = base.plan(observation, keys, {"base_camera": pictures // 4})
    assert not torch.equal(darker, plan)


def final_norm(policy: Any) -> Any:
    """The last layer that the prefix goes through."""
    if policy.config.type == "smolvla":
        return policy.model.vlm_with_expert.get_vlm_model().text_model.norm
    return policy.model.paligemma_with_expert.paligemma.model.language_model.norm


def test_features_are_the_mean_of_the_prefix_that_lerobot_computes(saved) -> None:
    folder, policy, before, _ = saved
    base = load(folder)
    if policy.config.type == "groot":
        with pytest.raises(CheckpointError, match="has none"):
            require_features(base, "here")
        return
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(3, 1, 42, generator=generator)
    pictures = torch.randint(0, 256, (3, 1, SIZE, SIZE, 3), generator=generator).to(torch.uint8)
    ours = base.features(observation, {"base_camera": pictures})
    hidden, real, embed = [], [], policy.model.embed_prefix
    # pi0's norm gives a gate beside what it has normed.
    final_norm(policy).register_forward_hook(
        lambda _, given, out: hidden.append(out[0] if isinstance(out, tuple) else out)
    )
    policy.model.embed_prefix = lambda *args, **kwargs: real.append(embed(*args, **kwargs)) or real[-1]
    policy.reset()
    seen = {STATE: observation[:, 0, :18], TOP: pictures[:, 0].movedim(-1, -3).contiguous() / 255}
    policy.select_action(before(seen | {"task": ["pick"] * 3}))
    kept = real[0][1].float()[..., None]
    assert 0 < kept.mean() <= 1
    theirs = (hidden[0].float() * kept).sum(1) / kept.sum(1)
    assert torch.equal(rounded(ours), rounded(theirs))
    assert ours.shape == (3, base.features_dim) and ours.std() > 0


def test_a_policy_without_its_weights_is_no_base(saved) -> None:
    folder = saved[0]
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load(folder)
