"""Tasks of our own beside ManiSkill's, registered when this module is imported."""

import torch
from mani_skill.envs.tasks.tabletop.peg_insertion_side import PegInsertionSideEnv
from mani_skill.utils.registration import register_env

# Metres along the hole's axis, from the hole's frame.
SHALLOWEST, DEEPEST = -0.015, 0.075


@register_env("PegInsertionSideBounded-v1", max_episode_steps=200)
class PegInsertionSideBoundedEnv(PegInsertionSideEnv):
    """PegInsertionSide as Policy Decorator (arXiv 2412.13630) counts it: 200 steps, and a peg that was
    pushed too deep is no success. ManiSkill3's own has no upper bound and 100 steps."""

    def has_peg_inserted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Success (N,) and the peg head's position in the hole's frame (N, 3)."""
        inserted, head_at_hole = super().has_peg_inserted()
        return inserted & (head_at_hole[:, 0] <= DEEPEST), head_at_hole
