"""The scripted expert of PickCube solves it in ManiSkill."""

import torch

from actor.experts.pick_cube import pick_cube
from actor.simulators.make import make_environment
from config.compose import compose_config


def test_it_solves_its_task() -> None:
    task = compose_config(["task=pick_cube"]).task
    env = make_environment(task, "physx_cpu", 1, 2_000_000, processes=0)
    observation, lengths, frames = env.reset(), [], 0
    while len(lengths) < 10:
        action = torch.from_numpy(pick_cube(observation[0].numpy()))
        assert action.abs().max() <= 1
        step = env.step(action[None])
        observation, frames = step.observation, frames + 1
        if step.ended[0]:
            lengths.append(frames if step.success[0] else None)
            frames = 0
    env.close()
    assert sum(length is not None for length in lengths) >= 9
    assert all(length is None or length < 90 for length in lengths)
