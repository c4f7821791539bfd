"""What the base would do along recorded episodes."""

import hashlib
import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from actor.policy.contract import BasePolicy
from actor.policy.noise import Use, keys_at
from learner.replay.dataset.arrow import Array
from learner.replay.prior.demonstration import Demonstration

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plans:
    """The base along one episode of T frames: `along` (T, A) and `final` (act_horizon, A) at its end."""

    along: Array
    final: Array


@torch.no_grad()
def plans_along(base: BasePolicy, episode: Demonstration, number: int) -> Plans:
    """The base's open-loop plans at the episode's own states, one every `act_horizon` frames, as if the base
    had executed them.
    `number`: of the episode in its data: the plans' noise depends on it, and not on a run's seed."""
    starts = np.arange(0, len(episode.actions), base.act_horizon)
    frames = starts[:, None] + np.arange(1 - base.obs_horizon, 1)
    history = episode.observations[np.clip(frames, 0, None)]
    # In an episode shorter than the history, the first observation fills it.
    end = np.clip(np.arange(1 - base.obs_horizon, 1) + len(episode.actions), 0, None)
    last = episode.observations[None, end]
    keys = keys_at(number, np.append(starts, len(episode.actions)), Use.BASE)
    planned = base.plan(torch.tensor(np.concatenate([history, last])), keys)
    plans = np.asarray(planned.cpu(), np.float32)
    return Plans(plans[:-1].reshape(-1, base.action_dim), plans[-1])


def cached_plans(
    path: Path, episodes: Sequence[Demonstration], base: BasePolicy, plan_key: str
) -> list[Plans]:
    """`plans_along` every episode; read from the file beside `path` if there is one."""
    digest = hashlib.sha256(f"{base.fingerprint} {base.act_horizon} {plan_key}".encode())
    for episode in episodes:
        digest.update(episode.observations.tobytes())
    # Resolved: `.` has no name.
    path = path.resolve()
    cache = path.with_name(f"{path.stem}.plans-{base.fingerprint}-{digest.hexdigest()[:8]}.npz")
    if (known := _read_plans(cache)) is not None:
        return known
    plans = [plans_along(base, episode, number) for number, episode in enumerate(episodes)]
    try:
        _write_plans(cache, plans)
    except OSError as error:
        # The folder may be read-only: the plans are then computed again next time.
        log.info("the base's plans along %s are not cached: %s", path, error)
    return plans


def _read_plans(cache: Path) -> list[Plans] | None:
    """None: there are none, or the file is cut short."""
    try:
        with np.load(cache, allow_pickle=False) as file:
            ends = np.cumsum(file["lengths"])[:-1]
            along = np.split(file["along"], ends)
            return [Plans(a, f) for a, f in zip(along, file["final"], strict=True)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_plans(cache: Path, plans: Sequence[Plans]) -> None:
    fresh = cache.with_suffix(f".{os.getpid()}.new")
    with fresh.open("wb") as file:
        np.savez(
            file,
            lengths=np.array([len(p.along) for p in plans]),
            along=np.concatenate([p.along for p in plans]),
            final=np.stack([p.final for p in plans]),
        )
    fresh.rename(cache)


def executed_plans(episodes: Sequence[Demonstration], base: BasePolicy) -> list[Plans]:
    """The plans that were executed in a run's replay, and the base's at the end of each episode."""
    plans: list[Plans] = []
    for number, episode in enumerate(episodes):
        assert episode.base_actions is not None
        frames = len(episode.actions)
        rows = -(-frames // base.act_horizon) * base.act_horizon
        # The rest of a last plan that the episode's end cut short was not executed, and not recorded.
        along = np.pad(episode.base_actions, ((0, rows - frames), (0, 0)), mode="edge")
        plans.append(Plans(along, plans_along(base, episode, number).final))
    return plans
