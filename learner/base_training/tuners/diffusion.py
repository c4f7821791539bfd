"""A diffusion base in training, in the published layout or with the keys that go beyond it."""

import copy
from pathlib import Path
from typing import Any

import torch

from actor.policy.diffusion.checkpoint import load_agent, save_agent
from actor.policy.diffusion.ddim import TRAIN_STEPS
from actor.policy.padded import with_base_pose
from actor.policy.weights import Weights
from config.base import DiffusionBaseConfig
from learner.algorithms.contract import Figures
from learner.algorithms.finite import NonFinite
from learner.base_training.denoising import Denoising
from learner.base_training.tuners.contract import TunerSettings
from learner.base_training.windows import published_shape
from learner.ranks.ranks import Batch

# As train-base's, with which shipped bases were trained.
LEARNING_RATE = 5e-4


class DiffusionTuner:
    """See `BaseTuner`. What scales observations and actions stays as it is."""

    def __init__(self, base: DiffusionBaseConfig, settings: TunerSettings) -> None:
        agent = load_agent(Path(base.path)).to(settings.device).train()
        spec = agent.spec
        # Zero moves nothing in a delta mode alone.
        still = "delta" in spec.control_mode
        self.shape = published_shape(spec.obs_horizon, spec.pred_horizon, stands_still=still)
        self._base = base
        self._denoising = Denoising(
            agent,
            lr=settings.lr or LEARNING_RATE,
            warmup=settings.warmup,
            updates=settings.updates,
            ema_ceiling=settings.ema_ceiling,
        )
        self._rng = torch.Generator(settings.device).manual_seed(settings.seed)

    @property
    def updates(self) -> int:
        return self._denoising.step

    def update(self, batch: Batch) -> Figures:
        history, actions = batch["history"], batch["actions"]
        if self._base.pad_obs_to is not None:
            history = with_base_pose(history)
        rate = self._denoising.rate
        loss = self._denoising.update(
            {
                "history": history,
                "actions": actions,
                "noise": torch.randn(actions.shape, generator=self._rng, device=actions.device),
                "steps": torch.randint(
                    TRAIN_STEPS, (len(actions),), generator=self._rng, device=actions.device
                ),
            }
        )
        return {"loss/base": lambda: loss, "base_lr": lambda: torch.tensor(rate)}

    def first_skipped(self) -> NonFinite | None:
        return self._denoising.first_skipped()

    def weights(self) -> Weights:
        return self._denoising.ema.state_dict()

    def state(self) -> dict[str, Any]:
        return self._denoising.state() | {"rng": self._rng.get_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        try:
            self._denoising.load_state(state)
        except RuntimeError as error:
            raise ValueError(f"another base: {error}") from error
        self._rng.set_state(state["rng"].cpu())

    def save(self, folder: Path, weights: Weights | None = None) -> None:
        plain = copy.deepcopy(self._denoising.ema)
        if weights is not None:
            plain.load_state_dict(weights)
        save_agent(folder, plain, plain, {"trained_from": self._base.path})
