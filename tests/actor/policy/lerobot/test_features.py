"""Features of LeRobot's policies are what these compute at that observation, rounded to float16."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from actor.policy.contract import CheckpointError
from actor.policy.features import require_features, rounded
from actor.policy.lerobot.features.hooks import HOOKS
from actor.policy.make import make_base
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.camera_policies import HEIGHT, ROBOT, TOP, WIDTH, save_policy
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import STATE, make_policy, save

EPISODES = read_demonstrations(Path("bases/PickCube-v1/demos.h5"), Wanted(limit=3)).episodes
CAMERA = (
    "task.cameras=[base_camera]", f"task.camera_size=[{WIDTH},{HEIGHT}]",
    f"base.cameras={{{TOP}: base_camera}}", f"base.observation={{{STATE}: [0, {ROBOT}]}}",
)  # fmt: skip


def load(folder: Path, *words: str) -> Any:
    config = make_config("base=lerobot", f"base.path={folder}", *words)
    return make_base(config.base, config.task, "cpu")


def observed() -> Tensor:
    """Three sub-environments at frames 4 and 5, (3, 2, 42)."""
    return torch.stack([torch.from_numpy(each.observations[4:6]) for each in EPISODES])


def computed(policy: Any) -> list[Tensor]:
    """What LeRobot computes from now on, taken where its own code uses it."""
    found: list[Tensor] = []
    if policy.config.type == "act":
        policy.model.decoder.register_forward_pre_hook(lambda _, given: found.append(given[1].mean(0)))
        return found
    prepare = policy.diffusion._prepare_global_conditioning

    def prepared(batch: Any) -> Tensor:
        found.append(prepare(batch))
        return found[-1]

    policy.diffusion._prepare_global_conditioning = prepared
    return found


def shown(observation: Tensor, pictures: Tensor) -> dict[str, Tensor]:
    """One frame as LeRobot's own loop would show it."""
    return {STATE: observation[:, :ROBOT], TOP: pictures.movedim(-1, -3).contiguous() / 255}


@pytest.mark.parametrize("kind", ["act", "diffusion"])
def test_they_are_those_that_lerobot_computes_at_that_observation(kind: str, tmp_path: Path) -> None:
    folder, policy, before, _ = save_policy(tmp_path, kind, (TOP,))
    base, found = load(folder, *CAMERA), computed(policy)
    frames = base.obs_horizon
    history = observed()[:, -frames:]
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (3, frames, HEIGHT, WIDTH, 3), generator=generator).to(torch.uint8)
    images = {"base_camera": pictures}
    plan, features = base.plan_with_features(history, base_keys(3), images)
    policy.eval().reset()
    for frame in range(frames):
        policy.select_action(before(shown(history[:, frame], pictures[:, frame])))
        if frame < frames - 1:  # its queues then have the history: what it makes of the newest frame counts
            policy._queues["action"].clear()
            found.clear()
    assert torch.equal(rounded(features), rounded(found[0]))
    assert features.shape == (3, base.features_dim) and features.std() > 0
    assert torch.equal(rounded(base.features(history, images)), rounded(features))
    assert torch.equal(plan, base.plan(history, base_keys(3), images))


@pytest.mark.parametrize(("kind", "planner"), [("act", "model.decoder"), ("diffusion", "diffusion.unet")])
def test_nothing_is_planned_for_features_alone(kind: str, planner: str, tmp_path: Path) -> None:
    """And the next plan is as if nobody had asked."""
    base = load(save_policy(tmp_path, kind, (TOP,))[0], *CAMERA)
    history = observed()[:, -base.obs_horizon :]
    images = {"base_camera": torch.zeros(3, base.obs_horizon, HEIGHT, WIDTH, 3, dtype=torch.uint8)}
    plan, features = base.plan_with_features(history, base_keys(3), images)
    ran: list[bool] = []
    watched = base._policy.get_submodule(planner).register_forward_hook(lambda *_: ran.append(True))
    drawn = torch.get_rng_state()
    assert torch.equal(base.features(history, images), features)
    assert not ran and torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(base.plan(history, base_keys(3), images), plan) and ran
    watched.remove()


def test_a_class_without_features_says_so_and_plans_as_ever(tmp_path: Path) -> None:
    policy, before, after = make_policy("tdmpc", EPISODES, ROBOT)
    assert "tdmpc" not in HOOKS
    base = load(save(tmp_path, policy, before, after))
    with pytest.raises(CheckpointError, match=r"algo\.sees .* base here has none: set both to \[state\]"):
        require_features(base, "here")
    assert base.plan(observed()[:, -1:], base_keys(3)).shape == (3, 4, 7)
