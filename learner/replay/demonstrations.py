"""Demonstrations as prior data: ManiSkill h5 -> the same columns that actors send."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from actor.policy.base import BasePolicy
from config.schema import Algo, simulator_reward
from protocol.messages import Columns

log = logging.getLogger(__name__)

DENSE = "normalized_dense"
"""Name of the dense rewards in a trajectory file; ManiSkill's own files have none."""


class DemonstrationError(ValueError):
    """Demonstrations that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Demonstration:
    """One episode of T actions: observations (T + 1, O), actions (T, A), success (T,) bool, and the
    simulator's normalised dense reward (T,) where it was recorded."""

    observations: np.ndarray
    actions: np.ndarray
    success: np.ndarray
    dense: np.ndarray | None = None

    def cut_at_success(self) -> Demonstration:
        """The episode as the task would have ended it: at its first successful frame."""
        if not self.success.any():
            return self
        frames = int(np.argmax(self.success)) + 1
        return Demonstration(
            self.observations[: frames + 1],
            self.actions[:frames],
            self.success[:frames],
            None if self.dense is None else self.dense[:frames],
        )

    def rewards(self, algo: Algo) -> np.ndarray | None:
        """(T,) float32 as the simulator of this recipe would give them; None if they were not recorded."""
        return self.success.astype(np.float32) if simulator_reward(algo.reward) == "sparse" else self.dense


def read_maniskill(path: Path, limit: int | None = None) -> list[Demonstration]:
    """Episodes of a ManiSkill trajectory file with state observations.

    Raises:
        DemonstrationError: no such file, or not of this layout; says how to make one.
    """
    if not path.is_file():
        raise DemonstrationError(f"no demonstrations at {path}: make them with bash launch/demos.sh")
    try:
        # Locking off: reading fails on network file systems otherwise.
        with h5py.File(path, "r", locking=False) as file:
            names = sorted((name for name in file if name.startswith("traj_")), key=lambda n: int(n[5:]))
            return [
                Demonstration(
                    np.asarray(file[name]["obs"], np.float32),
                    np.asarray(file[name]["actions"], np.float32),
                    np.asarray(file[name]["success"], bool),
                    np.asarray(file[name][DENSE], np.float32) if DENSE in file[name] else None,
                )
                for name in names[:limit]
            ]
    except (OSError, KeyError) as error:
        raise DemonstrationError(
            f"{path} is not a ManiSkill trajectory file with state observations: {error}"
        ) from error


@torch.no_grad()
def plans_along(base: BasePolicy, episode: Demonstration) -> np.ndarray:
    """The base's open-loop plans at the demonstration's own states: (T, A), a plan every
    `act_horizon` frames, as if the base had been in charge of the plans."""
    starts = np.arange(0, len(episode.actions), base.act_horizon)
    frames = starts[:, None] + np.arange(1 - base.obs_horizon, 1)
    history = episode.observations[np.clip(frames, 0, None)]
    plans = base.plan(torch.from_numpy(history)).cpu().numpy()
    return plans.reshape(-1, base.action_dim)


def demonstration_columns(
    base: BasePolicy, episodes: list[Demonstration], algo: Algo
) -> tuple[Columns, float]:
    """All episodes as decisions (see `protocol.messages.Experience`), and the clipped share.

    The residual is the one that reproduces the demonstrated action, (a - a_base) / residual_scale,
    clipped to [-1, 1]; the share says how many of its numbers had to be clipped.

    Raises:
        DemonstrationError: the recipe's reward is dense, and no episode has one.
    """
    usable = [episode for episode in episodes if episode.rewards(algo) is not None]
    if not usable:
        raise DemonstrationError(
            f"algo.reward={algo.reward} needs dense rewards in the demonstrations: add them with "
            "python -m launch.label_rewards <file> task=<task>, or set algo.prior_fraction=0"
        )
    if len(usable) < len(episodes):
        log.info("%d of %d demonstrations have no dense reward", len(episodes) - len(usable), len(episodes))
    parts = []
    clipped = total = 0
    for number, raw in enumerate(usable):
        episode = raw.cut_at_success()
        plans = plans_along(base, episode)
        final_plan = (
            base.plan(torch.from_numpy(episode.observations[None, -base.obs_horizon :])).cpu().numpy()
        )
        wanted = (episode.actions - plans[: len(episode.actions)]) / algo.residual_scale
        clipped += int((np.abs(wanted) > 1).sum())
        total += wanted.size
        parts.append(_decisions(episode, plans, wanted.clip(-1, 1), final_plan, number, algo))
    offsets = np.cumsum([0] + [len(part["frames"]) for part in parts])
    for part, offset in zip(parts, offsets, strict=False):
        part["final_row"] = (part["final_row"] + offset).astype(np.int32)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    share = clipped / max(1, total)
    log.info(
        "prior data: %d demonstrations, %d decisions, %.1f %% of the residual clipped",
        len(usable), len(columns["frames"]), 100 * share,
    )  # fmt: skip
    return columns, share


def _decisions(
    episode: Demonstration,
    plans: np.ndarray,
    residual: np.ndarray,
    final_plan: np.ndarray,
    number: int,
    algo: Algo,
) -> Columns:
    every = algo.residual_every
    reward = episode.rewards(algo)
    assert reward is not None
    frames_total = len(episode.actions)
    rows = -(-frames_total // every)
    terminated = bool(episode.success[-1])

    def grouped(values: np.ndarray) -> np.ndarray:
        """(T, ...) -> (rows, every, ...), zeros past the end."""
        padding = [(0, rows * every - frames_total)] + [(0, 0)] * (values.ndim - 1)
        return np.pad(values, padding).reshape(rows, every, *values.shape[1:])

    last = np.arange(rows) == rows - 1
    return {
        "observation": grouped(episode.observations[:-1]),
        "action": grouped(episode.actions),
        "base_plan": plans[: rows * every].reshape(rows, every, -1),
        "residual": grouped(residual.astype(np.float32)),
        "reward": grouped(reward),
        "success": grouped(episode.success),
        "frames": np.where(last, frames_total - (rows - 1) * every, every).astype(np.int32),
        "terminated": last & terminated,
        "truncated": last & (not terminated),
        "sub_env": np.zeros(rows, np.int32),
        "episode": np.full(rows, number, np.int64),
        "decision": np.arange(rows, dtype=np.int32),
        "weights_version": np.zeros(rows, np.int64),
        "final_row": np.array([rows - 1], np.int32),
        "final_observation": episode.observations[-1:],
        "final_base_plan": final_plan[:, :every] * (not terminated),
    }


def write_maniskill(path: Path, episodes: list[Demonstration]) -> None:
    """Write what `read_maniskill` reads, compressed, beside its place and renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with h5py.File(fresh, "w", locking=False) as file:
        for number, episode in enumerate(episodes):
            group = file.create_group(f"traj_{number}")
            for name, values in (
                ("obs", episode.observations),
                ("actions", episode.actions),
                ("success", episode.success),
                *([] if episode.dense is None else [(DENSE, episode.dense)]),
            ):
                group.create_dataset(name, data=values, compression="gzip", shuffle=True)
    fresh.rename(path)
