"""Residual RL whose critics believe less of what they expect: a change of one formula of residual_sac.py."""

from typing import Any

import torch
from torch import Tensor

from config.main import Config
from learner.algorithms.contract import Training
from learner.algorithms.residual_sac import ResidualSAC
from learner.make import make_residual
from learner.ranks.ranks import Ranks
from residual_rl_example.settings import DoubtingConfig


class DoubtingSAC(ResidualSAC):
    """`ResidualSAC` with targets nearer to the reward alone."""

    algo: DoubtingConfig

    def bootstrap_target(self, batch: Any) -> Tensor:
        """The critics' target (B,)."""
        return torch.lerp(super().bootstrap_target(batch), batch["reward"], self.algo.doubt)


def make(config: Config, algo: DoubtingConfig, base: Any) -> Training:
    """The parts of a residual's training, with these updates."""
    return make_residual(config, algo, base, Ranks(), DoubtingSAC)
