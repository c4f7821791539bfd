"""Offline training of the diffusion base on demonstrations: DDPM loss, EMA, published layout."""

from __future__ import annotations

import copy
import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from omegaconf import DictConfig, OmegaConf
from rich.progress import Progress, TextColumn
from torch import Tensor

from actor.policy.diffusion import TRAIN_STEPS, DiffusionAgent, DiffusionSpec, save_agent
from learner.replay.demonstrations import DemonstrationError, read_maniskill

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demonstrations:
    """Windows of demonstrations, all of them in memory.

    Shapes: `history` (N, obs_horizon, obs_dim), `actions` (N, pred_horizon, act_dim).
    """

    history: Tensor
    actions: Tensor
    episodes: int


def make_windows(
    episodes: list[tuple[np.ndarray, np.ndarray]], obs_horizon: int, pred_horizon: int
) -> Demonstrations:
    """Every window of every episode, padded as the published trainer pads.

    The front repeats the first observation and action; past the end the arm stands still (zero
    delta action) and the gripper keeps its last action.
    """
    histories, chunks = [], []
    for observations, actions in episodes:
        length = len(actions)
        still = np.concatenate([np.zeros_like(actions[-1, :-1]), actions[-1, -1:]])
        tail = np.repeat(still[None], pred_horizon, axis=0)
        padded = np.concatenate([np.repeat(actions[:1], obs_horizon - 1, axis=0), actions, tail])
        starts = np.arange(-(obs_horizon - 1), length - obs_horizon)
        frames = starts[:, None] + np.arange(obs_horizon)
        histories.append(observations[np.clip(frames, 0, length - 1)])
        # `padded` begins obs_horizon - 1 actions before the episode, where the first window starts.
        chunks.append(padded[(starts + obs_horizon - 1)[:, None] + np.arange(pred_horizon)])
    return Demonstrations(
        history=torch.from_numpy(np.concatenate(histories)),
        actions=torch.from_numpy(np.concatenate(chunks)),
        episodes=len(episodes),
    )


def fit_ranges(agent: DiffusionAgent, data: Demonstrations) -> None:
    """Set the agent's scaling so that the demonstrations fill [-1, 1]; constants stay as they are."""
    for name, values in (("obs", data.history), ("action", data.actions)):
        low, high = values.flatten(0, 1).amin(0), values.flatten(0, 1).amax(0)
        half = (high - low) / 2
        getattr(agent, f"{name}_center").copy_((high + low) / 2)
        getattr(agent, f"{name}_half_range").copy_(torch.where(half > 1e-4, half, torch.ones_like(half)))


def ema_decay(step: int, ceiling: float) -> float:
    """Warm-up of the moving average: min((1 + t) / (10 + t), ceiling)."""
    return min((1 + step) / (10 + step), ceiling)


def learning_rate_factor(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))


def denoising_loss(
    agent: DiffusionAgent, schedule: DDPMScheduler, history: Tensor, actions: Tensor, rng: torch.Generator
) -> Tensor:
    """Mean squared error of the prediction at random steps (Ho et al. 2020, eq. 14)."""
    clean = agent.scale_action(actions)
    noise = torch.randn(clean.shape, generator=rng, device=clean.device)
    steps = torch.randint(0, TRAIN_STEPS, (len(clean),), generator=rng, device=clean.device)
    noisy = schedule.add_noise(clean, noise, steps)  # type: ignore[arg-type]
    wanted = noise if agent.spec.prediction_type == "epsilon" else clean
    return torch.nn.functional.mse_loss(agent.predict(noisy, steps, history), wanted)


def train(settings: dict[str, Any], data: Demonstrations, out: Path) -> DiffusionAgent:
    """Train for `settings["iterations"]` steps; write `out` every `save_every` and at the end."""
    spec = DiffusionSpec(
        env_id=settings["env_id"],
        control_mode=settings["control_mode"],
        obs_dim=data.history.shape[-1],
        act_dim=data.actions.shape[-1],
        obs_horizon=settings["obs_horizon"],
        pred_horizon=settings["pred_horizon"],
        diffusion_step_embed_dim=settings["diffusion_step_embed_dim"],
        unet_dims=tuple(settings["unet_dims"]),
        n_groups=settings["n_groups"],
        prediction_type=settings["prediction_type"],
        normalize=settings["normalize"],
    )
    torch.manual_seed(settings["seed"])
    agent = DiffusionAgent(spec)
    if spec.normalize:
        fit_ranges(agent, data)
    device = torch.device(settings["device"])
    agent = agent.to(device)
    ema = copy.deepcopy(agent).requires_grad_(False)
    rng = torch.Generator(device).manual_seed(settings["seed"])
    history, actions = data.history.to(device), data.actions.to(device)
    schedule = DDPMScheduler(TRAIN_STEPS, beta_schedule="squaredcos_cap_v2", clip_sample=True)
    optimizer = torch.optim.AdamW(
        agent.parameters(), lr=settings["lr"], betas=(0.95, 0.999), weight_decay=1e-6, fused=True
    )
    total = settings["iterations"]
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, settings["warmup"], total)
    )
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns) as progress:
        bar = progress.add_task("base", total=total, loss="")
        for step in range(total):
            rows = torch.randint(len(history), (settings["batch_size"],), generator=rng, device=device)
            loss = denoising_loss(agent, schedule, history[rows], actions[rows], rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            decay.step()
            _track(ema, agent, ema_decay(step, settings["ema_ceiling"]))
            if step % 50 == 0:
                progress.update(bar, completed=step, loss=f"loss {loss.item():.4f}")
            if (step + 1) % settings["save_every"] == 0 or step + 1 == total:
                save_agent(out, agent, ema, settings)
                log.info("step %d of %d: loss %.4f, saved %s", step + 1, total, loss.item(), out)
    return ema


@torch.no_grad()
def _track(ema: DiffusionAgent, agent: DiffusionAgent, decay: float) -> None:
    torch._foreach_lerp_(list(ema.parameters()), list(agent.parameters()), 1 - decay)


@hydra.main(version_base=None, config_path="../config", config_name="train_base")
def main(config: DictConfig) -> None:
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    torch.set_num_threads(settings["threads"])
    try:
        episodes = read_maniskill(Path(settings["demos"]), settings["max_episodes"])
    except DemonstrationError as error:
        sys.exit(f"error: {error}")
    pairs = [(episode.observations, episode.actions) for episode in episodes]
    data = make_windows(pairs, settings["obs_horizon"], settings["pred_horizon"])
    log.info("%d demonstrations, %d windows", data.episodes, len(data.history))
    train(settings, data, Path(settings["out"]))


if __name__ == "__main__":
    main()
