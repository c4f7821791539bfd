"""Environments, registered with ManiSkill when this module is imported."""

from typing import Any

import torch
from mani_skill.envs.tasks.tabletop.pick_cube import PickCubeEnv
from mani_skill.utils.registration import register_env

HEIGHT = 0.1  # metres above where a cube lies


@register_env("RaiseCube-v1", max_episode_steps=60)
class RaiseCubeEnv(PickCubeEnv):
    """Lift the cube, wherever the goal of PickCube is. The observation is that of PickCube."""

    def evaluate(self) -> dict[str, Any]:
        """Success (N,): the cube is held, `HEIGHT` above the table."""
        evaluated = super().evaluate()
        raised = self.cube.pose.p[:, 2] >= self.cube_half_size + HEIGHT
        held = torch.as_tensor(evaluated["is_grasped"], device=raised.device)
        return evaluated | {"success": raised & held}
