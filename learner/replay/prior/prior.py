"""Prior data: recorded episodes as the decisions that actors send, with the base's plans along them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actor.policy.contract import BasePolicy
from actor.policy.features import FeaturedBase
from config.algo import AlgoConfig
from config.task import TaskConfig
from learner.replay.dataset.arrow import Array
from learner.replay.prior.check import require_dimensions
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.plans import Features, Plans, cached_features, cached_plans, executed_plans
from learner.replay.prior.read import ANY, Wanted, read_demonstrations
from protocol.arrays import Columns
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PriorData:
    """Decisions in the columns of `protocol.experience`."""

    columns: Columns
    clipped_share: float
    """Share of the residuals' values that had to be clipped to [-1, 1] to reproduce the recorded actions."""
    sources: tuple[tuple[str, int], ...]
    """Name and number of episodes of each source, in the order of the columns."""


def read_prior(
    source: str,
    base: BasePolicy,
    plan_key: str,
    algo: AlgoConfig,
    wanted: Wanted = ANY,
    task: TaskConfig | None = None,
) -> PriorData:
    """Read one source, see `learner.replay.prior.read`.

    A replay that was made with the same base has the plans that were executed; for all other data they are
    computed once and cached beside it.

    Args:
        plan_key: what plans depend on beyond the base's weights.
        task: whose pictures base and networks look at; None: they look at none.

    Raises:
        DemonstrationError: no data, or none that fits the base; pictures that are needed are missing.
    """
    read = read_demonstrations(source, wanted)
    require_dimensions(source, read.episodes[0], (base.observation_dim, base.action_dim))
    episodes = [episode.cut_at_success() for episode in read.episodes]
    shown = task.cameras if task is not None and algo.looks_at is not None else ()
    if task is not None and (cameras := {*base.cameras, *shown}):
        from learner.replay.prior.pictures import with_pictures  # importing lerobot takes seconds

        episodes = with_pictures(source, episodes, sorted(cameras), task.camera_size)
    recorded = [episode.base_actions for episode in episodes]
    known = all(actions is not None and actions.shape[1] == base.action_dim for actions in recorded)
    if known and read.origin.base_fingerprint == base.fingerprint:
        plans = executed_plans(episodes, base)
    else:
        plans = cached_plans(Path(source), episodes, base, plan_key)
    features: Sequence[Features] = ()
    if algo.needs_features:
        assert isinstance(base, FeaturedBase), "others are refused before"
        features = cached_features(Path(source), episodes, base, plan_key, algo.residual_every)
    prior = prior_columns(episodes, plans, algo, source, features)
    prior.columns.update(_pictures(episodes, shown, algo.residual_every))
    return prior


def _pictures(episodes: Sequence[Demonstration], cameras: Sequence[str], every: int) -> Columns:
    """Of each decision's first frame; of an episode's end, which nobody recorded, the last one again."""
    found: dict[str, list[Array]] = {}
    for episode in episodes:
        for camera in cameras:
            shown = episode.pictures[camera]
            found.setdefault(IMAGE_PREFIX + camera, []).append(shown[::every, None])
            found.setdefault(FINAL_IMAGE_PREFIX + camera, []).append(shown[-1:])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def prior_columns(
    episodes: Sequence[Demonstration],
    plans: Sequence[Plans],
    algo: AlgoConfig,
    source: str,
    features: Sequence[Features] = (),
) -> PriorData:
    """All episodes as decisions.

    The residual is the one that reproduces the recorded action, (a - a_base) / residual_scale, clipped.
    `features`: the base's, of all episodes or of none.
    """
    parts: list[Columns] = []
    clipped = total = 0
    scale = np.asarray(algo.residual_scale, np.float32)
    for number, (episode, plan) in enumerate(zip(episodes, plans, strict=True)):
        reward = episode.success.astype(np.float32)
        wanted = (episode.taken - plan.along[: len(episode.actions)]) / scale
        # A difference of rounding is no clipping.
        clipped += int((np.abs(wanted) > 1 + 1e-4).sum())
        total += wanted.size
        residual = wanted.clip(-1, 1).astype(np.float32)
        parts.append(_decisions(episode, plan, residual, reward, number, algo.residual_every))
    for part, found in zip(parts, features, strict=bool(features)):
        kept = ~part["terminated"][-1:, None]
        part |= {"features": found.along, "final_features": found.final[None] * kept}
    offsets = np.cumsum([0] + [len(part["frames"]) for part in parts])
    for part, offset in zip(parts, offsets, strict=False):
        part["final_row"] = (part["final_row"] + offset).astype(np.int32)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    share = clipped / max(1, total)
    log.info(
        "prior data from %s: %d episodes (%d successful), %d decisions, %.1f %% of the residual clipped",
        source, len(parts), sum(bool(episode.success.any()) for episode in episodes),
        len(columns["frames"]), 100 * share,
    )  # fmt: skip
    return PriorData(columns, share, ((source, len(parts)),))


def _decisions(
    episode: Demonstration, plan: Plans, residual: Array, reward: Array, number: int, every: int
) -> Columns:
    frames_total = len(episode.actions)
    rows = -(-frames_total // every)
    terminated = bool(episode.success[-1])

    def grouped(values: Array) -> Array:
        """(T, ...) -> (rows, every, ...), zeros past the end."""
        padding = [(0, rows * every - frames_total)] + [(0, 0)] * (values.ndim - 1)
        return np.pad(values, padding).reshape(rows, every, *values.shape[1:])

    last = np.arange(rows) == rows - 1
    return {
        "observation": grouped(episode.observations[:-1]),
        "action": grouped(episode.taken),
        "base_plan": plan.along[: rows * every].reshape(rows, every, -1),
        "residual": grouped(residual),
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
        "final_base_plan": plan.final[None, :every] * (not terminated),
    }


def join_prior(parts: Sequence[PriorData]) -> PriorData:
    rows = [len(part.columns["frames"]) for part in parts]
    columns = {name: [part.columns[name] for part in parts] for name in parts[0].columns}
    columns["final_row"] = [f + o for f, o in zip(columns["final_row"], np.cumsum([0, *rows]), strict=False)]
    # Episodes of different sources must not follow each other.
    episodes = np.cumsum([0] + [int(part.columns["episode"][-1]) + 1 for part in parts])
    columns["episode"] = [e + o for e, o in zip(columns["episode"], episodes, strict=False)]
    share = float(np.average([part.clipped_share for part in parts], weights=rows))
    merged = {name: np.concatenate(values) for name, values in columns.items()}
    sources = tuple(source for part in parts for source in part.sources)
    return PriorData(merged | {"final_row": merged["final_row"].astype(np.int32)}, share, sources)
