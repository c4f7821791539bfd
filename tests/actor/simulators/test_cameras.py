"""Images of cameras beside the state: rendered by ManiSkill where a device is found, and what needs none."""

import subprocess
import sys
from types import SimpleNamespace

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from actor.policy.images import NO_IMAGES
from actor.simulators.batched import BatchedEnvironment
from actor.simulators.cameras import CameraObservation, missing_cameras, rendered
from actor.simulators.make import make_environment
from config.section import ConfigError
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import make_config, make_policy, make_rollout

TASK = msgspec.structs.replace(
    make_config("task.cameras=[base_camera,base_camera_depth]", "task.camera_size=[64,48]").task,
    max_episode_steps=3,
)


# A software device compiles its shaders for half a minute, once a process.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rendered_images_come_beside_the_same_state(renderer) -> None:
    envs = make_environment(TASK, "physx_cpu", 1, seed=7)
    plain = make_environment(msgspec.structs.replace(TASK, cameras=()), "physx_cpu", 1, seed=7)
    pictures = []
    try:
        assert torch.equal(envs.reset(), plain.reset())
        assert plain.images == NO_IMAGES
        pictures.append(envs.images["base_camera"])
        for frame in range(3):
            step = envs.step(torch.ones(1, envs.action_dim))
            assert torch.equal(step.observation, plain.step(torch.ones(1, envs.action_dim)).observation)
            assert torch.equal(step.images["base_camera"], step.final_images["base_camera"]) == (frame < 2)
            pictures += [step.final_images["base_camera"]]
        pictures.append(step.images["base_camera"])
        seen = step.images
    finally:
        envs.close()
        plain.close()
    assert (
        seen["base_camera_depth"].shape == (1, 48, 64, 1) and seen["base_camera_depth"].dtype == torch.int16
    )
    # The table is within arm's reach of the camera.
    assert 200 < seen["base_camera_depth"].float().median() < 2000
    for picture in pictures:
        assert picture.shape == (1, 48, 64, 3) and picture.dtype == torch.uint8
        assert picture.float().std() > 10, "an empty picture"
    # The arm moves: no two frames of an episode look the same, and the next one has its own scene.
    assert len({picture.numpy().tobytes() for picture in pictures}) == 5


def test_an_unknown_camera_is_one_clear_error() -> None:
    simulator = SimpleNamespace(unwrapped=SimpleNamespace(scene=SimpleNamespace(sensors={"base_camera": 0})))
    assert missing_cameras(TASK, simulator) is None
    for camera in ("nonsense", "nonsense_depth"):
        other = msgspec.structs.replace(TASK, cameras=("base_camera_depth", camera))
        assert missing_cameras(other, simulator) == f"it has the cameras ['base_camera'], not ['{camera}']"


@pytest.mark.parametrize(
    ("cameras", "mode"),
    [
        (("base_camera",), "state+rgb"),
        (("base_camera_depth",), "state+depth"),
        (("base_camera", "hand_camera", "base_camera_depth"), "state+rgb+depth"),
    ],
)
def test_maniskill_draws_the_textures_that_somebody_sees(cameras: tuple[str, ...], mode: str) -> None:
    assert rendered(msgspec.structs.replace(TASK, cameras=cameras))["obs_mode"] == mode


def test_depth_of_a_single_simulator_is_unsigned() -> None:
    """ManiSkill's is int16, and what gymnasium gives to other processes says which numbers it has."""
    task = msgspec.structs.replace(TASK, cameras=("top", "top_depth"))

    class Simulator(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-1, 1, (2,))})

        def reset(self, *, seed=None, options=None):
            shown = {"rgb": np.full((48, 64, 3), 7, np.uint8), "depth": np.full((48, 64, 1), 1234, np.int16)}
            return {"state": np.zeros(2, np.float32), "sensor_data": {"top": shown}}, {}

    env = CameraObservation(Simulator(), task)
    seen, _ = env.reset()
    assert env.observation_space.contains(seen)
    assert seen["top_depth"].dtype == np.uint16 and (seen["top_depth"] == 1234).all()


def test_where_nothing_renders_the_error_says_what_to_install() -> None:
    words = (
        "import os; os.environ['VK_ICD_FILENAMES'] = '/nowhere'\n"
        "import sys; from actor.simulators.headless import RenderError, choose_renderer\n"
        "try: choose_renderer()\n"
        "except RenderError as error: sys.exit(str(error))\n"
    )
    asked = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert asked.returncode == 1
    assert "apt-get install chromium" in asked.stderr and "task.cameras" in asked.stderr


class BatchedCameras:
    """What ManiSkillVectorEnv returns with cameras; every picture shows its state's first number."""

    num_envs = 3

    def __init__(self) -> None:
        space = type("Space", (), {"shape": (2,), "low": [-1, -1], "high": [1, 1]})
        self.single_observation_space = {"state": space}
        self.single_action_space = space
        self.frame = torch.zeros(3)

    def _observation(self):
        picture = self.frame.to(torch.uint8)[:, None, None, None].expand(3, 4, 6, 3)
        state = torch.stack([self.frame, torch.arange(3.0)], dim=1)
        shown = {"rgb": picture, "depth": 1000 * picture[..., :1].to(torch.int16)}
        return {"state": state, "sensor_data": {"top": shown}, "sensor_param": {}}

    def reset(self, seed=None):
        return self._observation(), {}

    def step(self, action):
        self.frame = self.frame + 1
        over = self.frame >= torch.tensor([2.0, 3.0, 5.0])
        final, success = self._observation(), torch.zeros(3, dtype=torch.bool)
        info = {"success": success}
        if over.any():
            self.frame = torch.where(over, torch.zeros(3), self.frame)
            info |= {"final_observation": final, "final_info": {"success": success}}
        return self._observation(), torch.zeros(3), success, over, info


def test_batched_images_are_those_of_their_states() -> None:
    envs = BatchedEnvironment(BatchedCameras(), seed=0, cameras=("top", "top_depth"))
    envs.reset()
    for _ in range(7):
        step = envs.step(torch.zeros(3, 2))
        for state, images in ((step.observation, step.images), (step.final_observation, step.final_images)):
            assert torch.equal(
                images["top"], state[:, 0].to(torch.uint8)[:, None, None, None].expand(3, 4, 6, 3)
            )
            assert torch.equal(images["top_depth"], 1000 * images["top"][..., :1].to(torch.int16))
        assert torch.equal(envs.images["top"], step.images["top"])


class SeeingBase(CountingBase):
    """Checks that its images are those of its history, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.cameras = ("top", "wrist")

    def plan(self, history, keys, images=NO_IMAGES):
        for i, camera in enumerate(self.cameras):
            shown = images[camera]
            assert shown.shape == (len(history), self.obs_horizon, 16, 32, 3)
            expected = history.to(torch.uint8) + torch.tensor([0, 0, i], dtype=torch.uint8)
            assert torch.equal(shown, expected[:, :, None, None].expand_as(shown))
        return super().plan(history, keys, images)


@pytest.mark.parametrize("every", [1, 4])
def test_a_base_sees_the_images_of_its_own_history(every: int) -> None:
    base = SeeingBase()
    policy = make_policy(base, make_config(f"algo.residual_every={every}"), 3, every)
    envs = ScriptedEnvironment([[7, 3], [5], [1, 9]], cameras=("top", "unseen", "wrist")[::2])
    rollout = make_rollout(envs, policy, every)
    for _ in range(40):
        rollout.step()
    assert base.planned > 30 and rollout.episodes > 10


@pytest.mark.parametrize("override", ["task.camera_size=[63,64]", "task.cameras=[a,a]", "task.cameras=[a.b]"])
def test_cameras_that_cannot_be_are_refused_naming_the_key(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0].removeprefix("task.")):
        make_config(override)
