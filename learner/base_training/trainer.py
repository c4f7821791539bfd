"""One update of the diffusion base, and everything that must survive a stop between two of them."""

import copy
import logging
import math
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.ddim import TRAIN_STEPS
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from actor.policy.finite import non_finite_value
from config.process import UsageError
from config.train_base import TrainBaseConfig
from learner.algorithms.finite import NonFinite, finite_steps
from learner.base_training.windows import Windows, fit_ranges
from learner.ranks.ranks import Batch, Ranks
from learner.replay.prior.demonstration import DemonstrationError

log = logging.getLogger(__name__)

# What may change between a stop and its resume without changing a single update.
FREE_TO_CHANGE = {
    "resume", "save_every", "processes", "threads", "evaluation", "wandb", "out", "demos", "keep_demos",
}  # fmt: skip


# Updates whose windows are remembered: more than are made between two looks at what came of them.
REMEMBERED = 64


class ResumeError(UsageError):
    """A training that cannot be resumed; the message says which setting forbids it."""


def ema_decay(step: int, ceiling: float) -> float:
    """Warm-up of the moving average: min((1 + t) / (10 + t), ceiling)."""
    return min((1 + step) / (10 + step), ceiling)


def learning_rate_factor(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def denoising_loss(
    agent: DiffusionAgent, alpha: Tensor, history: Tensor, actions: Tensor, noise: Tensor, steps: Tensor
) -> Tensor:
    """Mean squared error of the prediction at `steps` (Ho et al. 2020, eq. 14).
    `alpha`: cumulative products of the 100 steps."""
    clean = agent.scale_action(actions)
    kept = alpha[steps, None, None]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    wanted = noise if agent.spec.prediction_type == "epsilon" else clean
    return torch.nn.functional.mse_loss(agent.predict(noisy, steps, history).float(), wanted)


class BaseTrainer:
    """Network, moving average, optimiser and random numbers of a training.
    `data`: moved to `settings.device`, or where Accelerate puts it, as a whole. All `ranks` have the same.
    Raises CheckpointError: `start_from` does not fit. DemonstrationError: values beyond what float32 can
    scale."""

    def __init__(self, settings: TrainBaseConfig, data: Windows, ranks: Ranks | None = None) -> None:
        self.settings, self.step, self._ranks = settings, 0, ranks or Ranks()
        self._device = torch.device(self._ranks.device or settings.device)
        torch.manual_seed(settings.seed)
        agent = _make_agent(settings, data)
        if (found := non_finite_value(agent.state_dict())) is not None:
            raise DemonstrationError(f"the demonstrations' values are too large to be scaled: {found}")
        self.agent = agent.to(self._device)
        self.ema = copy.deepcopy(self.agent).requires_grad_(False)
        self._data = data.to(self._device)
        self._rng = torch.Generator(self._device).manual_seed(settings.seed)
        schedule = DDPMScheduler(TRAIN_STEPS, beta_schedule="squaredcos_cap_v2", clip_sample=True)
        self._alpha = schedule.alphas_cumprod.to(self._device)
        self._optimizer = torch.optim.AdamW(
            self.agent.parameters(), lr=settings.lr, betas=(0.95, 0.999), weight_decay=1e-6, fused=True
        )
        self._rate = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_factor(step, settings.warmup, settings.iterations)
        )
        self._steps = finite_steps(self._device)
        self._rows: deque[Tensor] = deque(maxlen=REMEMBERED)
        self._loss = torch.compile(denoising_loss) if settings.compile else denoising_loss

    def update(self) -> Tensor:
        """One step of everything; the loss, without gradient.

        It and later ones change no weight if the loss or a gradient is not finite: see `first_skipped`."""
        losses = []
        self._optimizer.zero_grad(set_to_none=True)
        for piece in self._ranks.pieces(self._draw()):
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

    def windows_of(self, step: NonFinite) -> list[int]:
        """Which windows the update learned from, one of the last `REMEMBERED`."""
        return self._rows[-1 - (self.step - step.update)].tolist()

    def state(self) -> dict[str, Any]:
        """All that the next update depends on, but for the demonstrations; `weights_only` readable."""
        return {
            "step": self.step,
            "settings": msgspec.to_builtins(self.settings) | self._shared(),
            "windows": len(self._data.history),
            "agent": self.agent.state_dict(),
            "ema_agent": self.ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rate": self._rate.state_dict(),
            "rng": self._rng.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`.
        Raises ResumeError: it comes from other settings or other demonstrations; names them."""
        mine = msgspec.to_builtins(self.settings) | self._shared() | {"windows": len(self._data.history)}
        theirs = state["settings"] | {"windows": state["windows"]}
        theirs["device"] = torch.device(theirs["device"]).type
        for key in mine:
            if key not in FREE_TO_CHANGE and mine[key] != theirs.get(key):
                raise ResumeError(
                    f"{self.settings.out} was trained with {key}={theirs.get(key)}, not {mine[key]}: "
                    "give it that again, choose another out=<folder>, or start anew with resume=new"
                )
        self.step = state["step"]
        self.agent.load_state_dict(state["agent"])
        self.ema.load_state_dict(state["ema_agent"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state["rate"])
        self._rng.set_state(state["rng"].cpu())

    def _draw(self) -> Batch:
        """This rank's part of a joint batch, which all ranks draw alike."""
        count, own = self.joint_batch, self._ranks.own
        rows = self._draw_integers(len(self._data.history), count)
        self._rows.append(rows)
        shape = (count, *self._data.actions.shape[1:])
        noise = torch.randn(shape, generator=self._rng, device=self._device)
        steps = self._draw_integers(TRAIN_STEPS, count)
        history, actions = self._data.history[own(rows)], self._data.actions[own(rows)]
        return {"history": history, "actions": actions, "noise": own(noise), "steps": own(steps)}

    def _shared(self) -> dict[str, Any]:
        """Settings that all ranks have together: another number of them may go on with the same updates."""
        return {"batch_size": self.joint_batch, "device": self._device.type}

    @property
    def joint_batch(self) -> int:
        """Windows in an update of all ranks."""
        return self.settings.batch_size * self._ranks.size

    def _draw_integers(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self._rng, device=self._device)

    def _loss_of(self, **inputs: Tensor) -> Tensor:
        mixed = self.settings.precision == "bfloat16"
        with (
            torch.autocast(self._device.type, torch.bfloat16, enabled=mixed),
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
        average = get_ema_multi_avg_fn(ema_decay(self.step, self.settings.ema_ceiling))
        average(list(self.ema.parameters()), list(self.agent.parameters()), self.step)


def _make_agent(settings: TrainBaseConfig, data: Windows) -> DiffusionAgent:
    """A new network, or that of `start_from`, whose scaling stays: its weights were trained with it.
    Raises CheckpointError: the other base cannot be read, or is of other dimensions or another network."""
    spec = _spec(settings, data)
    agent = DiffusionAgent(spec)
    if settings.start_from is None:
        if settings.normalize:
            fit_ranges(agent, data)
        return agent
    begun = load_agent(Path(settings.start_from))
    for key, wanted in asdict(spec).items():
        if key != "env_id" and getattr(begun.spec, key) != wanted:
            raise CheckpointError(
                f"start_from={settings.start_from} has {key}={getattr(begun.spec, key)}, this training has "
                f"{wanted}: choose another base"
            )
    agent.load_state_dict(begun.state_dict())
    return agent


def _spec(settings: TrainBaseConfig, data: Windows) -> DiffusionSpec:
    return DiffusionSpec(
        env_id=settings.task,
        control_mode=settings.control_mode,
        obs_dim=data.history.shape[-1],
        act_dim=data.actions.shape[-1],
        obs_horizon=settings.obs_horizon,
        pred_horizon=settings.pred_horizon,
        diffusion_step_embed_dim=settings.diffusion_step_embed_dim,
        unet_dims=settings.unet_dims,
        n_groups=settings.n_groups,
        prediction_type=settings.prediction_type,
        normalize=settings.normalize,
    )
