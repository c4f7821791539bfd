"""What the base would do along recorded episodes, and what it would make of them: its features."""

import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from actor.policy.contract import BasePolicy
from actor.policy.features import FeaturedBase, rounded
from actor.policy.images import Images, tensor_of
from actor.policy.noise import Use, keys_at
from learner.replay.dataset.arrow import Array
from learner.replay.prior.demonstration import Demonstration

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plans:
    """The base along one episode of T frames: `along` (T, A) and `final` (act_horizon, A) at its end."""

    along: Array
    final: Array


@dataclass(frozen=True)
class Features:
    """Its features along one episode of R decisions: f2 `along` (R, E) and `final` (E,) at its end."""

    along: Array
    final: Array


@torch.no_grad()
def plans_along(base: BasePolicy, episode: Demonstration, number: int) -> Plans:
    """The base's open-loop plans at the episode's own states, one every `act_horizon` frames, as if the base
    had executed them.
    `number`: of the episode in its data: the plans' noise depends on it, and not on a run's seed."""
    frames, histories, images = _histories(base, episode, base.act_horizon)
    planned = base.plan(histories, keys_at(number, frames, Use.BASE), images)
    plans = np.asarray(planned.cpu(), np.float32)
    return Plans(plans[:-1].reshape(-1, base.action_dim), plans[-1])


@torch.no_grad()
def features_along(base: FeaturedBase, episode: Demonstration, every: int) -> Features:
    """The base's features at the episode's own states, one every `every` frames, and at its end."""
    _, histories, images = _histories(base, episode, every)
    found = np.asarray(rounded(base.features(histories, images)).cpu(), np.float16)
    return Features(found[:-1], found[-1])


def _histories(base: BasePolicy, episode: Demonstration, every: int) -> tuple[Array, torch.Tensor, Images]:
    """One frame every `every` and the episode's end, and what is seen there. There is no picture of the end:
    the one before the last action is used twice."""
    frames = np.append(np.arange(0, len(episode.actions), every), len(episode.actions))
    # In an episode shorter than the history, the first observation fills it.
    seen = np.clip(frames[:, None] + np.arange(1 - base.obs_horizon, 1), 0, None)
    shown = seen.clip(max=len(episode.actions) - 1)
    images = {camera: tensor_of(episode.pictures[camera][shown]) for camera in base.cameras}
    return frames, torch.tensor(episode.observations[seen]), images


def cached_plans(
    path: Path, episodes: Sequence[Demonstration], base: BasePolicy, plan_key: str
) -> list[Plans]:
    """`plans_along` every episode; read from the file beside `path` if there is one."""
    cache = _cache_of(path, "plans", episodes, base, f"{base.act_horizon} {plan_key}")
    return _cached(cache, Plans, lambda: [plans_along(base, each, n) for n, each in enumerate(episodes)])


def cached_features(
    path: Path, episodes: Sequence[Demonstration], base: FeaturedBase, plan_key: str, every: int
) -> list[Features]:
    """`features_along` every episode, cached as plans are."""
    cache = _cache_of(path, "features", episodes, base, f"{every} {plan_key}")
    return _cached(cache, Features, lambda: [features_along(base, each, every) for each in episodes])


def _cache_of(path: Path, what: str, episodes: Sequence[Demonstration], base: BasePolicy, key: str) -> Path:
    digest = hashlib.sha256(f"{base.fingerprint} {key}".encode())
    for episode in episodes:
        digest.update(episode.observations.tobytes())
    # Resolved: `.` has no name.
    path = path.resolve()
    if base.cameras:
        # What they show is not among the observations, and takes too long to read each time.
        for file in sorted(each for each in path.rglob("*") if each.suffix in (".parquet", ".mp4")):
            found = file.stat()
            digest.update(f"{file.relative_to(path)} {found.st_size} {found.st_mtime_ns}".encode())
    return path.with_name(f"{path.stem}.{what}-{base.fingerprint}-{digest.hexdigest()[:8]}.npz")


def _cached[T: (Plans, Features)](cache: Path, kind: type[T], compute: Callable[[], list[T]]) -> list[T]:
    if (known := _read(cache, kind)) is not None:
        return known
    log.info("asking the base along the episodes of prior data, once: %s", cache.name)
    computed = compute()
    try:
        _write(cache, computed)
    except OSError as error:
        # The folder may be read-only: all is then computed again next time.
        log.info("%s is not written, and its content not cached: %s", cache, error)
    return computed


def _read[T: (Plans, Features)](cache: Path, kind: type[T]) -> list[T] | None:
    """None: there are none, or the file is damaged."""
    try:
        with np.load(cache, allow_pickle=False) as file:
            ends = np.cumsum(file["lengths"])[:-1]
            along = np.split(file["along"], ends)
            return [kind(a, f) for a, f in zip(along, file["final"], strict=True)]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None


def _write(cache: Path, plans: Sequence[Plans | Features]) -> None:
    fresh = cache.with_suffix(f".{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            np.savez(
                file,
                lengths=np.array([len(p.along) for p in plans]),
                along=np.concatenate([p.along for p in plans]),
                final=np.stack([p.final for p in plans]),
            )
        fresh.rename(cache)
    finally:
        fresh.unlink(missing_ok=True)


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
