"""The training of a diffusion base from its start: where its batches come from, and what a resume needs."""

from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.diffusion.ddim import TRAIN_STEPS
from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec
from actor.policy.finite import non_finite_value
from config.process import UsageError
from config.train_base import TrainBaseConfig
from learner.algorithms.finite import NonFinite
from learner.base_training.denoising import Denoising
from learner.base_training.windows import Windows, fit_ranges
from learner.ranks.ranks import Batch, Ranks
from learner.replay.prior.demonstration import DemonstrationError

# What may change between a stop and its resume without changing a single update.
FREE_TO_CHANGE = {
    "resume", "save_every", "processes", "threads", "evaluation", "wandb", "out", "demos", "keep_demos",
}  # fmt: skip


# Updates whose windows are remembered: more than are made between two looks at what came of them.
REMEMBERED = 64


class ResumeError(UsageError):
    """A training that cannot be resumed; the message says which setting forbids it."""


class BaseTrainer:
    """A base of random weights, demonstrations, and their random draws.
    `data`: moved to `settings.device`, or where Accelerate puts it, as a whole. All `ranks` have the same.
    Raises CheckpointError: `start_from` does not fit. DemonstrationError: values beyond what float32 can
    scale."""

    def __init__(self, settings: TrainBaseConfig, data: Windows, ranks: Ranks | None = None) -> None:
        self.settings, self._ranks = settings, ranks or Ranks()
        self._device = torch.device(self._ranks.device or settings.device)
        torch.manual_seed(settings.seed)
        agent = _make_agent(settings, data)
        if (found := non_finite_value(agent.state_dict())) is not None:
            raise DemonstrationError(f"the demonstrations' values are too large to be scaled: {found}")
        self._data = data.to(self._device)
        self._rng = torch.Generator(self._device).manual_seed(settings.seed)
        self.denoising = Denoising(
            agent.to(self._device),
            lr=settings.lr,
            warmup=settings.warmup,
            updates=settings.iterations,
            ema_ceiling=settings.ema_ceiling,
            bfloat16=settings.precision == "bfloat16",
            compiled=settings.compile,
            ranks=self._ranks,
        )
        self._rows: deque[Tensor] = deque(maxlen=REMEMBERED)

    @property
    def step(self) -> int:
        return self.denoising.step

    @property
    def agent(self) -> DiffusionAgent:
        return self.denoising.agent

    @property
    def ema(self) -> DiffusionAgent:
        return self.denoising.ema

    def update(self) -> Tensor:
        """One step of everything; the loss, without gradient. See `Denoising.update`."""
        return self.denoising.update(self._draw())

    def first_skipped(self) -> NonFinite | None:
        """The first step that was skipped because it was not finite, if any was; on a GPU this waits."""
        return self.denoising.first_skipped()

    def windows_of(self, step: NonFinite) -> list[int]:
        """Which windows the update learned from, one of the last `REMEMBERED`."""
        return self._rows[-1 - (self.step - step.update)].tolist()

    def state(self) -> dict[str, Any]:
        """All that the next update depends on, but for the demonstrations; `weights_only` readable."""
        return {
            "settings": msgspec.to_builtins(self.settings) | self._shared(),
            "windows": len(self._data.history),
            "rng": self._rng.get_state(),
        } | self.denoising.state()

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
        self.denoising.load_state(state)
        self._rng.set_state(state["rng"].cpu())

    def _draw(self) -> Batch:
        """A joint batch, which all ranks draw alike: this rank's windows of it, and their noise."""
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
