"""Demonstrations cut into windows of observation history and actions, all of them in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actor.policy.diffusion.network import DiffusionAgent
from learner.base_training.episodes import EpisodeSet, WindowShape
from learner.replay.dataset.arrow import Array


@dataclass(frozen=True)
class Windows:
    """Shapes: `history` (N, obs_horizon, obs_dim), `actions` (N, pred_horizon, act_dim)."""

    history: Tensor
    actions: Tensor
    counts: tuple[int, ...]
    """Windows of each episode, in the order of the episodes."""

    @property
    def episodes(self) -> int:
        return len(self.counts)

    def place(self, window: int) -> tuple[int, int]:
        """Number of the window's episode, and the frame that its history begins with."""
        firsts = np.cumsum([0, *self.counts])
        episode = int(np.searchsorted(firsts, window, side="right")) - 1
        return episode, max(0, int(window - firsts[episode]) - self.history.shape[1] + 1)

    def to(self, device: torch.device) -> "Windows":
        """The same on `device`."""
        return Windows(self.history.to(device), self.actions.to(device), self.counts)


def published_shape(obs_horizon: int, pred_horizon: int, *, stands_still: bool = True) -> WindowShape:
    """The windows of the published trainer."""
    first = 1 - obs_horizon
    return WindowShape(
        tuple(range(first, 1)), tuple(range(first, first + pred_horizon)), 1, stands_still=stands_still
    )


def make_windows(episodes: Sequence[tuple[Array, Array]], obs_horizon: int, pred_horizon: int) -> Windows:
    """Every window of every episode (observations, actions), padded as the published trainer pads."""
    observations, actions = episodes[0]
    shape = published_shape(obs_horizon, pred_horizon)
    found = EpisodeSet(shape, observations.shape[1], actions.shape[1])
    counts = tuple(found.add(*episode) for episode in episodes)
    history, actions, _ = found.windows(np.arange(len(found)))
    return Windows(torch.from_numpy(history), torch.from_numpy(actions), counts)


def fit_ranges(agent: DiffusionAgent, data: Windows) -> None:
    """Set the agent's scaling so that the demonstrations fill [-1, 1]; constants stay as they are."""
    for name, values in (("obs", data.history), ("action", data.actions)):
        low, high = values.flatten(0, 1).amin(0), values.flatten(0, 1).amax(0)
        half = (high - low) / 2
        getattr(agent, f"{name}_center").copy_((high + low) / 2)
        getattr(agent, f"{name}_half_range").copy_(torch.where(half > 1e-4, half, torch.ones_like(half)))
