"""Laws of actor.simulators.quick: faster than ManiSkill's own functions, and the same to the bit."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from actor.simulators import quick
from actor.simulators.headless import prepare_simulator

prepare_simulator()

from mani_skill.utils import common  # noqa: E402
from mani_skill.utils.geometry import rotation_conversions as rotations  # noqa: E402
from mani_skill.utils.structs.pose import Pose  # noqa: E402

# Plays the same frames with ManiSkill's functions and with ours.
EPISODES = """
import sys
import numpy as np
from mani_skill.utils.wrappers import CPUGymWrapper
from actor.simulators.maniskill import make_simulator
from actor.simulators.seeded import SeededEpisodes
from actor.simulators.quick import quicken
from config.compose import compose_config

task = compose_config(["task=" + sys.argv[1]]).task
env = SeededEpisodes(CPUGymWrapper(make_simulator(task, "physx_cpu", 1)), 0, 1)

def play():
    generator = np.random.default_rng(0)
    rows = []
    for seed in (3, 4):
        rows.append(env.reset(seed=seed)[0])
        for _ in range(8):
            # Pushes that last, so that the arm meets the table, an object, its own limits.
            action = np.clip(generator.normal(size=env.action_space.shape), -1, 1).astype(np.float32)
            for _ in range(8):
                observation, reward, terminated, truncated, info = env.step(action)
                rows.append(np.append(observation, [reward, terminated, info["success"]]))
    return [row.tobytes() for row in rows]

plain = play()
quicken()
assert play() == plain
assert len(set(plain)) > 100, "the arm did not move"
print("same", len(plain))
"""


def quaternion() -> Tensor:
    return torch.nn.functional.normalize(torch.randn(1, 4))


def pose() -> Pose:
    return Pose.create(torch.cat([torch.randn(1, 3), quaternion()], 1))


def angles() -> Tensor:
    return torch.randn(1, 3) * torch.rand(()) * 3


CASES = {
    "product of quaternions": (
        rotations.quaternion_raw_multiply,
        quick._raw_multiply,
        (quaternion, quaternion),
    ),
    "product of poses": (Pose.__mul__, quick._times, (pose, pose)),
    "inverse": (Pose.inv, quick._inverse, (pose,)),
    "matrix of a pose": (Pose.to_transformation_matrix, quick._matrix, (pose,)),
    "unit vector": (common.normalize_vector, quick._normalize, (lambda: torch.randn(1, 3),)),
    "short vector": (common.normalize_vector, quick._normalize, (lambda: torch.randn(1, 3) * 1e-7,)),
    "matrix of angles": (rotations.euler_angles_to_matrix, quick._euler, (angles, lambda: "XYZ")),
    "quaternion of a matrix": (
        rotations.matrix_to_quaternion,
        quick._to_quaternion,
        (lambda: rotations.euler_angles_to_matrix(angles(), "XYZ"),),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_quick_function_gives_the_same_bits(name: str) -> None:
    original, make, arguments = CASES[name]

    def unexpected(*_: object) -> None:
        raise AssertionError("left to ManiSkill")

    torch.manual_seed(0)
    for _ in range(500):
        given = [argument() for argument in arguments]
        expected, found = original(*given), make(unexpected)(*given)
        if isinstance(expected, Pose):
            expected, found = expected.raw_pose, found.raw_pose
        assert found.shape == expected.shape
        assert found.numpy().tobytes() == expected.numpy().tobytes(), given


@pytest.mark.parametrize("name", [name for name in CASES if name != "matrix of angles"])
def test_what_is_no_single_row_is_left_to_maniskill(name: str) -> None:
    original, make, arguments = CASES[name]
    given = [argument() for argument in arguments]
    several = [
        Pose.create(a.raw_pose.repeat(3, 1)) if isinstance(a, Pose) else torch.cat([a] * 3) for a in given
    ]
    assert make(lambda *_: "ManiSkill's")(*several) == "ManiSkill's"


@pytest.mark.parametrize("task", ["pick_cube", "stack_cube", "peg_insertion_side"])
def test_a_quick_simulator_plays_the_same_episodes_to_the_bit(task: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EPISODES, task], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("same")
