"""LeRobot policies that look at cameras, saved by LeRobot itself, as bases."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from actor.policy.contract import CheckpointError
from actor.policy.make import make_base
from actor.policy.noise import normal
from actor.simulators.make import make_environment
from tests.support.camera_policies import HEIGHT, ROBOT, TOP, WIDTH, WRIST, save_policy
from tests.support.diffusion import base_keys
from tests.support.fakes import ScriptedEnvironment
from tests.support.helpers import make_config, make_policy, make_rollout
from tests.support.lerobot_policies import STATE

OVERRIDES = (
    "task.cameras=[base_camera,hand_camera]",
    f"task.camera_size=[{WIDTH},{HEIGHT}]",
    f"base.cameras={{{TOP}: base_camera, {WRIST}: hand_camera}}",
    f"base.observation={{{STATE}: [0, {ROBOT}]}}",
)


@pytest.fixture(scope="module", params=["act", "diffusion"])
def saved(request, tmp_path_factory: pytest.TempPathFactory):
    return save_policy(tmp_path_factory.mktemp(request.param), request.param, (TOP, WRIST))


def load(folder: Path, *overrides: str):
    config = make_config("base=lerobot", f"base.path={folder}", *OVERRIDES, *overrides)
    return make_base(config.base, config.task, "cpu")


def episode(frames: int, envs: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Observations (N, T, 42) and images (N, T, H, W, 3)."""
    generator = torch.Generator().manual_seed(5)
    observation = torch.randn(envs, frames, 42, generator=generator)
    images = {
        camera: torch.randint(
            0, 256, (envs, frames, HEIGHT, WIDTH, 3), generator=generator, dtype=torch.uint8
        )
        for camera in ("base_camera", "hand_camera")
    }
    return observation, images


def as_lerobot(observation: Tensor, images: dict[str, Tensor]) -> dict[str, Tensor]:
    """One frame (1, ...) as LeRobot's own loop would show it."""
    pictures = {
        name: images[camera].permute(0, 3, 1, 2).float() / 255
        for name, camera in ((TOP, "base_camera"), (WRIST, "hand_camera"))
        if camera in images
    }
    return {STATE: observation[:, :ROBOT], **pictures}


def test_every_sub_environment_plans_as_lerobot_does_alone_in_an_episode(saved) -> None:
    """LeRobot's own select_action, one environment at a time, with its queues, over two plans."""
    folder, policy, before, after = saved
    n_action_steps, policy.config.n_action_steps = policy.config.n_action_steps, 4
    base = load(folder)
    assert base.cameras == ("base_camera", "hand_camera") and base.observation_dim == 42
    observation, images = episode(8, envs=2)
    padded = [
        torch.cat([values[:, :1]] * (base.obs_horizon - 1) + [values], dim=1)
        for values in (observation, *images.values())
    ]
    for env in range(2):
        policy.reset()
        for frame in range(8):
            seen = slice(frame, frame + base.obs_horizon)
            if frame % 4 == 0:
                keys = base_keys(2, frame)[env : env + 1]
                shown = dict(zip(images, (part[env : env + 1, seen] for part in padded[1:]), strict=True))
                plan = base.plan(padded[0][env : env + 1, seen], keys, shown)
                drawn = torch.from_numpy(normal(keys, 8 * 7)).view(1, 8, 7)
                noise = {"noise": drawn} if policy.config.type == "diffusion" else {}
            one = {camera: values[env, frame][None] for camera, values in images.items()}
            seen_now = before(as_lerobot(observation[env, frame][None], one))
            action = after(policy.select_action(seen_now, **noise))
            torch.testing.assert_close(plan[:, frame % 4], action, atol=1e-4, rtol=0)
    policy.config.n_action_steps = n_action_steps


def test_vqbet_plans_from_its_history_of_images_as_lerobot_does(tmp_path: Path) -> None:
    folder, policy, before, after = save_policy(tmp_path, "vqbet", (TOP,))
    base = load(folder)
    observation, images = episode(8, envs=2)
    shown = {"base_camera": images["base_camera"]}
    policy.eval().reset()
    for frame in range(8):
        if frame % 4 == 0:
            # The three newest frames, the first one repeated where there are fewer.
            seen = [max(0, frame + i) for i in (-2, -1, 0)]
            keys = base_keys(2, frame)
            plan = base.plan(observation[:, seen], keys, {camera: v[:, seen] for camera, v in shown.items()})
            torch.manual_seed(int(keys[0]))
        now = {camera: values[:, frame] for camera, values in shown.items()}
        action = after(policy.select_action(before(as_lerobot(observation[:, frame], now))))
        torch.testing.assert_close(plan[:, frame % 4], action, atol=1e-4, rtol=0)


def test_plans_of_a_batch_equal_plans_alone_and_depend_on_the_images(tmp_path: Path) -> None:
    base = load(save_policy(tmp_path, "act", (TOP, WRIST))[0])
    observation, images = episode(1, envs=3)
    keys = base_keys(3)
    together = base.plan(observation, keys, images)
    alone = [
        base.plan(observation[i : i + 1], keys[i : i + 1], {c: v[i : i + 1] for c, v in images.items()})
        for i in range(3)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)
    darker = images | {"hand_camera": images["hand_camera"] // 4}
    assert (base.plan(observation, keys, darker) - together).abs().max() > 1e-4


class PicturedEnvironment(ScriptedEnvironment):
    """With as many numbers and pixels as the policies take; pixels are the state's first three numbers."""

    def __init__(self, lengths: list[list[int]]) -> None:
        super().__init__(lengths, action_dim=7, cameras=("base_camera", "hand_camera"))
        self.observation_dim = 42

    def _observation(self, env: int) -> list[float]:
        return [*super()._observation(env), *[0.0] * 39]

    def pictures(self, observation: Tensor) -> dict[str, Tensor]:
        pixels = observation[:, :3].to(torch.uint8)[:, None, None].expand(-1, HEIGHT, WIDTH, 3)
        return {"base_camera": pixels, "hand_camera": 255 - pixels}


def test_histories_of_images_are_kept_for_each_sub_environment(tmp_path: Path) -> None:
    """Through the decorated policy and the rollout: two frames of images, episodes of different length."""
    folder = save_policy(tmp_path, "diffusion", (TOP, WRIST))[0]
    base, asked = load(folder), []
    plan = base.plan
    base.plan = lambda history, keys, images: asked.append((history, images)) or plan(history, keys, images)
    config = make_config("base=lerobot", f"base.path={folder}", *OVERRIDES)
    rollout = make_rollout(PicturedEnvironment([[5, 2], [3]]), make_policy(base, config, 2, 1), 1)
    for _ in range(8):
        rollout.step()
    assert len(asked) > 4
    for history, images in asked:
        expected = history[..., :3].to(torch.uint8)[:, :, None, None].expand(-1, -1, HEIGHT, WIDTH, 3)
        assert torch.equal(images["base_camera"], expected)
        assert torch.equal(images["hand_camera"], 255 - expected)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["task.cameras=[]"], rf"looks at {TOP}.*the task has the cameras \[\]"),
        (
            [
                "task.cameras=[base_camera,base_camera_depth,hand_camera]",
                f"base.cameras={{{TOP}: base_camera_depth, {WRIST}: hand_camera}}",
            ],
            rf"looks at {TOP}, which base.cameras says is base_camera_depth: bases see no depth",
        ),
        (["base.cameras=null"], rf"looks at {TOP}, which base.cameras says is no camera"),
        (["task.camera_size=[96,80]"], r"\[3, 48, 64\].*\[3, 80, 96\].*task.camera_size=\[64,48\]"),
        (["base.observation=null"], "18 observation numbers in all, the task has 42"),
    ],
)
def test_what_does_not_fit_is_refused_naming_both_sides(saved, overrides, says) -> None:
    with pytest.raises(CheckpointError, match=says):
        load(saved[0], *overrides)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_policy_with_a_camera_acts_in_maniskill(renderer, tmp_path: Path) -> None:
    save_policy(tmp_path, "act", ("observation.images.base_camera",))
    config = make_config(
        "base=lerobot", f"base.path={tmp_path}", "task.cameras=[base_camera]", *OVERRIDES[1:2], OVERRIDES[3],
        "task.max_episode_steps=6",
    )  # fmt: skip
    base = make_base(config.base, config.task, "cpu")
    envs = make_environment(config.task, "physx_cpu", 1, seed=3)
    try:
        rollout = make_rollout(envs, make_policy(base, config, 1, 1), 1)
        for _ in range(8):
            rollout.step()
        columns = rollout.take()
    finally:
        envs.close()
    assert columns["truncated"].sum() == 1 and rollout.frames == 8
    assert columns["base_plan"].std() > 0
