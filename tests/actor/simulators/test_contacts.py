"""An episode depends on its seed alone, not on the one before it in the same simulator."""

import numpy as np
import torch

from actor.evaluate_base import make_policy
from actor.policy.make import make_base
from actor.simulators.maniskill import require_task, single_environment
from config.compose import compose_config

CONFIG = compose_config(["learner.evaluation.first_seed=1000000"])
# Of PickCube's observation: whether the cube is held.
HELD = 18


def test_an_arm_that_held_a_cube_at_the_end_of_an_episode_holds_none_at_the_beginning_of_the_next() -> None:
    require_task(CONFIG.task.env_id)
    used, fresh = (single_environment(CONFIG.task, 0, 1) for _ in range(2))
    policy = make_policy(CONFIG, make_base(CONFIG.base, CONFIG.task, "cpu"), None, num_envs=1)
    observation, _ = used.reset(seed=1_000_000)
    policy.begin(torch.from_numpy(observation)[None])
    held = False
    while not held:
        observation, _, terminated, truncated, _ = used.step(policy.act().action[0].numpy())
        assert not terminated and not truncated, "never held"
        policy.observe(torch.from_numpy(observation)[None])
        held = observation[HELD] == 1
    first, _ = used.reset(seed=1_000_001)
    np.testing.assert_array_equal(first, fresh.reset(seed=1_000_001)[0])
    action = np.zeros(7, np.float32)
    for _ in range(5):
        np.testing.assert_array_equal(used.step(action)[0], fresh.step(action)[0])
    for env in (used, fresh):
        env.close()
