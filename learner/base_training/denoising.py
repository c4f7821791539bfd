"""One update of a diffusion policy by its denoising loss: network, moving average, optimiser, rate."""

import copy
import logging
import math
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from actor.policy.diffusion.ddim import TRAIN_STEPS
from actor.policy.diffusion.network import DiffusionAgent
from learner.algorithms.finite import NonFinite, finite_steps
from learner.ranks.ranks import Batch, Ranks

log = logging.getLogger(__name__)


def ema_decay(step: int, ceiling: float) -> float:
    """Warm-up of the moving average: min((1 + t) / (10 + t), ceiling)."""
    return min((1 + step) / (10 + step), ceiling)


def learning_rate_factor(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def denoising_loss(
    agent: DiffusionAgent,
    alpha: Tensor,
    history: Tensor,
    actions: Tensor,
    noise: Tensor,
    steps: Tensor,
) -> Tensor:
    """Mean squared error of the prediction at `steps` (Ho et al. 2020, eq. 14).

    Args:
        alpha: cumulative products of the 100 steps.
    """
    clean = agent.scale_action(actions)
    kept = alpha[steps, None, None]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    match agent.spec.prediction_type:
        case "epsilon":
            wanted = noise
        case "sample":
            wanted = clean
        case "v_prediction":
            wanted = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    return torch.nn.functional.mse_loss(agent.predict(noisy, steps, history).float(), wanted)


class Denoising:
    """A training whose batches come from elsewhere.

    Args:
        agent: on the device of the training.
        warmup: updates until the learning rate is `lr`.
        updates: after so many the rate is 0.
        bfloat16: predict in it; weights stay float32.
        compiled: with torch.compile where it works.
    """

    def __init__(
        self,
        agent: DiffusionAgent,
        *,
        lr: float,
        warmup: int,
        updates: int,
        ema_ceiling: float,
        bfloat16: bool = False,
        compiled: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.agent, self.step, self._ranks = agent, 0, ranks or Ranks()
        self.ema = copy.deepcopy(agent).requires_grad_(False)
        self._device = next(agent.parameters()).device
        self._ema_ceiling, self._bfloat16 = ema_ceiling, bfloat16
        schedule = DDPMScheduler(TRAIN_STEPS, beta_schedule="squaredcos_cap_v2", clip_sample=True)
        self._alpha = schedule.alphas_cumprod.to(self._device)
        self._optimizer = torch.optim.AdamW(
            agent.parameters(), lr=lr, betas=(0.95, 0.999), weight_decay=1e-6, fused=True
        )
        self._rate = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_factor(step, warmup, updates)
        )
        self._steps = finite_steps(self._device)
        self._loss = torch.compile(denoising_loss) if compiled else denoising_loss

    @property
    def rate(self) -> float:
        """The learning rate of the next update."""
        return float(self._optimizer.param_groups[0]["lr"])

    def update(self, batch: Batch) -> Tensor:
        """One step of everything from the tensors that `denoising_loss` takes; the loss, without gradient.

        It and later ones change no weight if the loss or a gradient is not finite: see `first_skipped`."""
        losses = []
        self._optimizer.zero_grad(set_to_none=True)
        for piece in self._ranks.pieces(batch):
            loss = self._loss_of(**piece)
            self._ranks.backward(loss)
            losses.append(loss)
        loss = self._ranks.average(self._optimizer, losses)
        if self._steps.step(self._optimizer, loss, "base", self.step + 1):
            self._rate.step()
            self._track()
        self.step += 1
        return loss

    def first_skipped(self) -> NonFinite | None:
        """The first step that was skipped because it was not finite, if any was; on a GPU this waits."""
        return self._steps.first_skipped()

    def state(self) -> dict[str, Any]:
        """All that the next update depends on but its batch."""
        return {
            "step": self.step,
            "agent": self.agent.state_dict(),
            "ema_agent": self.ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rate": self._rate.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Raises RuntimeError: it is of another network."""
        self.step = state["step"]
        self.agent.load_state_dict(state["agent"])
        self.ema.load_state_dict(state["ema_agent"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state["rate"])

    def _loss_of(self, **inputs: Tensor) -> Tensor:
        with (
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16),
            self._ranks.mixed_precision(),
        ):
            try:
                return self._loss(self.agent, self._alpha, **inputs)
            except Exception as error:  # torch.compile fails in as many ways as there are compilers
                if self._loss is denoising_loss:
                    raise
                log.warning("torch.compile does not work here, training goes on without: %s", error)
                self._loss = denoising_loss
                return denoising_loss(self.agent, self._alpha, **inputs)

    @torch.no_grad()
    def _track(self) -> None:
        average = get_ema_multi_avg_fn(ema_decay(self.step, self._ema_ceiling))
        average(list(self.ema.parameters()), list(self.agent.parameters()), self.step)
