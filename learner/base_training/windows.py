"""Demonstrations cut into windows of observation history and actions, all of them in memory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actor.policy.diffusion.network import DiffusionAgent


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


def make_windows(
    episodes: list[tuple[np.ndarray, np.ndarray]], obs_horizon: int, pred_horizon: int
) -> Windows:
    """Every window of every episode (observations, actions), padded as the published trainer pads.

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
    return Windows(
        history=torch.from_numpy(np.concatenate(histories)),
        actions=torch.from_numpy(np.concatenate(chunks)),
        counts=tuple(map(len, histories)),
    )


def fit_ranges(agent: DiffusionAgent, data: Windows) -> None:
    """Set the agent's scaling so that the demonstrations fill [-1, 1]; constants stay as they are."""
    for name, values in (("obs", data.history), ("action", data.actions)):
        low, high = values.flatten(0, 1).amin(0), values.flatten(0, 1).amax(0)
        half = (high - low) / 2
        getattr(agent, f"{name}_center").copy_((high + low) / 2)
        getattr(agent, f"{name}_half_range").copy_(torch.where(half > 1e-4, half, torch.ones_like(half)))
