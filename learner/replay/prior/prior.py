"""Prior data: any recorded episodes as the decisions that actors send, with the base's plans along them."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
import yaml

from actor.policy.contract import BasePolicy
from actor.policy.noise import Use, keys_at
from config.algo import AlgoConfig
from learner.replay.prior.maniskill import Demonstration, DemonstrationError, read_maniskill
from protocol.messages import Columns, ExperienceSpec

log = logging.getLogger(__name__)

SPEC_FILE = "spec.json"
"""In a run's folder, beside its replay: what its learner and actors agreed on."""


@dataclass(frozen=True)
class Plans:
    """The base along one episode of T frames: `along` (T, A) and `final` (act_horizon, A) at its end."""

    along: np.ndarray
    final: np.ndarray


@dataclass(frozen=True)
class PriorData:
    """Decisions in the layout of `protocol.messages.Experience`."""

    columns: Columns
    clipped_share: float
    """Of all numbers of the residuals that reproduce the recorded actions: those cut to [-1, 1]."""


def read_prior(
    source: str, base: BasePolicy, plan_key: str, algo: AlgoConfig, *, fps: int | None = None
) -> PriorData:
    """Read one source: a ManiSkill h5, a LeRobot dataset's folder or hub id, or a run's replay.

    A replay that was made with the same base keeps the plans that were executed; along all other data they
    are computed once and kept beside it.

    Args:
        plan_key: what plans depend on beyond the base's weights.
        fps: what a LeRobot dataset must have; None: anything.

    Raises:
        DemonstrationError: nothing there, or nothing that fits.
    """
    path = Path(source)
    if path.suffix == ".h5":
        episodes, recorded = read_maniskill(path), None
    else:
        # Seconds of import, for those who need it.
        from learner.replay.prior.lerobot import opened, read_folder

        with opened(source) as folder:
            episodes, recorded = read_folder(folder, source, fps=fps), read_recorded(path, folder)
    check_episodes(source, episodes, base)
    if recorded is not None and recorded.dense:
        pairs = zip(episodes, recorded.rewards, strict=True)
        episodes = [dataclasses.replace(episode, dense=rewards) for episode, rewards in pairs]
    episodes = [episode.cut_at_success() for episode in episodes]
    if recorded is not None and recorded.base_fingerprint == base.fingerprint:
        plans = executed_plans(recorded, episodes, base)
    else:
        plans = cached_plans(path, episodes, base, plan_key)
    return prior_columns(episodes, plans, algo, source)


def check_episodes(source: str, episodes: Sequence[Demonstration], base: BasePolicy) -> None:
    """Raise DemonstrationError unless there are episodes, of the base's dimensions."""
    if not episodes:
        raise DemonstrationError(f"{source} holds no episode")
    there = episodes[0].observations.shape[1], episodes[0].actions.shape[1]
    wanted = base.observation_dim, base.action_dim
    if there != wanted:
        raise DemonstrationError(
            f"{source} has {there[0]} observation and {there[1]} action numbers, the base takes {wanted[0]} "
            f"and {wanted[1]}: choose learner.demos of the same task and control mode"
        )


@torch.no_grad()
def plans_along(base: BasePolicy, episode: Demonstration, number: int) -> Plans:
    """The base's open-loop plans at the episode's own states, a plan every `act_horizon` frames, as if the
    base had been in charge of the plans.

    Args:
        number: of the episode within its data; its plans' noise depends on it, not on a run's seed.
    """
    starts = np.arange(0, len(episode.actions), base.act_horizon)
    frames = starts[:, None] + np.arange(1 - base.obs_horizon, 1)
    history = episode.observations[np.clip(frames, 0, None)]
    # An episode may be shorter than the history, which its first observation then fills.
    end = np.clip(np.arange(1 - base.obs_horizon, 1) + len(episode.actions), 0, None)
    last = episode.observations[None, end]
    keys = keys_at(number, np.append(starts, len(episode.actions)), Use.BASE)
    plans = base.plan(torch.from_numpy(np.concatenate([history, last])), keys).cpu().numpy()
    return Plans(plans[:-1].reshape(-1, base.action_dim), plans[-1])


def cached_plans(
    path: Path, episodes: Sequence[Demonstration], base: BasePolicy, plan_key: str
) -> list[Plans]:
    """`plans_along` every episode, from the file beside `path` where that was done before."""
    digest = hashlib.sha256(f"{base.fingerprint} {base.act_horizon} {plan_key}".encode())
    for episode in episodes:
        digest.update(episode.observations.tobytes())
    cache = path.with_name(f"{path.stem}.plans-{base.fingerprint}-{digest.hexdigest()[:8]}.npz")
    if cache.is_file():
        with np.load(cache, allow_pickle=False) as file:
            ends = np.cumsum(file["lengths"])[:-1]
            along = np.split(file["along"], ends)
            return [Plans(a, f) for a, f in zip(along, file["final"], strict=True)]
    plans = [plans_along(base, episode, number) for number, episode in enumerate(episodes)]
    try:
        _write_plans(cache, plans)
    except OSError as error:
        # Data may lie where nobody may write: computed anew next time.
        log.info("plans along %s are not kept: %s", path, error)
    return plans


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


@dataclass(frozen=True)
class Recorded:
    """What a run's replay holds beyond other datasets, for each of its episodes."""

    base_actions: list[np.ndarray]
    rewards: list[np.ndarray]
    dense: bool
    base_fingerprint: str


def read_recorded(replay: Path, view: Path) -> Recorded | None:
    """The columns of the replay in a run's folder as it stood (`view`), None for any other dataset."""
    spec_file, config_file = replay.parent / SPEC_FILE, replay.parent / "config.yaml"
    if not (spec_file.is_file() and config_file.is_file()):
        return None
    from learner.replay.prior.lerobot import read_folder

    spec = msgspec.json.decode(spec_file.read_bytes(), type=ExperienceSpec)
    task = yaml.safe_load(config_file.read_text())["task"]
    # Its reader takes any columns for observations, and adds one that stands for the final one.
    columns = [e.observations[:-1] for e in read_folder(view, str(replay), ["base_action", "next.reward"])]
    return Recorded(
        base_actions=[values[:, :-1] for values in columns],
        rewards=[values[:, -1] for values in columns],
        dense=task["reward_mode"] == "normalized_dense",
        base_fingerprint=spec.base_fingerprint,
    )


def executed_plans(recorded: Recorded, episodes: Sequence[Demonstration], base: BasePolicy) -> list[Plans]:
    """The plans that were executed in a run's replay."""
    plans = []
    for number, (episode, actions) in enumerate(zip(episodes, recorded.base_actions, strict=True)):
        frames = len(episode.actions)
        rows = -(-frames // base.act_horizon) * base.act_horizon
        # A last decision that its episode's end cut short: the rest of its plan was not executed.
        along = np.pad(actions[:frames], ((0, rows - frames), (0, 0)), mode="edge")
        plans.append(Plans(along, plans_along(base, episode, number).final))
    return plans


def prior_columns(
    episodes: Sequence[Demonstration], plans: Sequence[Plans], algo: AlgoConfig, source: str
) -> PriorData:
    """All episodes as decisions.

    The residual is the one that reproduces the recorded action, (a - a_base) / residual_scale, clipped.

    Raises:
        DemonstrationError: the recipe's reward is dense, and no episode has one.
    """
    parts: list[Columns] = []
    clipped = total = 0
    for number, (episode, plan) in enumerate(zip(episodes, plans, strict=True)):
        reward = episode.rewards(algo)
        if reward is None:
            continue
        wanted = (episode.taken - plan.along[: len(episode.actions)]) / algo.residual_scale
        # Rounding alone is no clipping.
        clipped += int((np.abs(wanted) > 1 + 1e-4).sum())
        total += wanted.size
        residual = wanted.clip(-1, 1).astype(np.float32)
        parts.append(_decisions(episode, plan, residual, reward, number, algo.residual_every))
    if not parts:
        raise DemonstrationError(
            f"algo.reward={algo.reward} needs dense rewards in {source}: add them with "
            "python -m launch.demos.label_rewards <file> task=<task>, or set algo.prior_fraction=0"
        )
    offsets = np.cumsum([0] + [len(part["frames"]) for part in parts])
    for part, offset in zip(parts, offsets, strict=False):
        part["final_row"] = (part["final_row"] + offset).astype(np.int32)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    share = clipped / max(1, total)
    log.info(
        "prior data from %s: %d of %d episodes, %d decisions, %.1f %% of the residual clipped",
        source, len(parts), len(episodes), len(columns["frames"]), 100 * share,
    )  # fmt: skip
    return PriorData(columns, share)


def _decisions(
    episode: Demonstration, plan: Plans, residual: np.ndarray, reward: np.ndarray, number: int, every: int
) -> Columns:
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
    """Several sources as one."""
    rows = [len(part.columns["frames"]) for part in parts]
    columns = {name: [part.columns[name] for part in parts] for name in parts[0].columns}
    columns["final_row"] = [f + o for f, o in zip(columns["final_row"], np.cumsum([0, *rows]), strict=False)]
    # Episodes of different sources must not follow each other.
    episodes = np.cumsum([0] + [int(part.columns["episode"][-1]) + 1 for part in parts])
    columns["episode"] = [e + o for e, o in zip(columns["episode"], episodes, strict=False)]
    share = float(np.average([part.clipped_share for part in parts], weights=rows))
    merged = {name: np.concatenate(values) for name, values in columns.items()}
    return PriorData(merged | {"final_row": merged["final_row"].astype(np.int32)}, share)
