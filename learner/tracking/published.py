"""A run's residual, base and replay as artifacts of W&B: a name for each task and kind, and aliases."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.run_files import residual_place
from config.base import LeRobotBaseConfig, PublishedBaseConfig
from config.collect import CollectConfig
from config.main import Config
from learner.checkpoints.shared import facts_of, write_base, write_residual
from learner.intervals import wilson_interval

PUBLISHED = "publishing"
"""In the run's folder, what is about to be sent."""


class Artifact(NamedTuple):
    """What is about to be sent."""

    point: dict[str, Any]
    """For `results.jsonl`."""
    write: Callable[[], None]
    """Makes the folder that the point names."""


def published(run_dir: Path, config: Config) -> list[Artifact]:
    """Each residual that the run has trained with its base, if it has trained one, and the replay, if it is
    asked for.

    The newest residual has the aliases `final` and `step-<updates>`, the best one `best`; all have
    `run-<W&B's id>`, and W&B adds `latest`.
    """
    return [*_policies(run_dir, config), *_replay(run_dir, config)]


def _policies(run_dir: Path, config: Config) -> list[Artifact]:
    if isinstance(config.algo, CollectConfig):
        return []
    found, aliases = list[Artifact](), _aliases(run_dir)
    for name, content, more in _residuals(run_dir):
        aliased = [*more, f"step-{content['updates']}", *aliases]
        metadata = _metadata(run_dir, config) | _success(content)
        point = _point(run_dir, name, f"{config.task.name}-residual", "residual-policy", aliased, metadata)
        found.append(Artifact(point, partial(write_residual, _folder(run_dir, name), config, content)))
    shared = isinstance(config.base, PublishedBaseConfig | LeRobotBaseConfig)
    if found and shared and Path(config.base.path).is_dir():
        metadata = _metadata(run_dir, config)
        point = _point(run_dir, "base", f"{config.task.name}-base", "base-policy", aliases, metadata)
        found.append(Artifact(point, partial(write_base, _folder(run_dir, "base"), config)))
    return found


def _replay(run_dir: Path, config: Config) -> list[Artifact]:
    """Nothing where no episode was kept."""
    replay = run_dir / "replay"
    info = _json(replay / "meta" / "info.json")
    if not config.learner.wandb.replay or not info.get("total_episodes"):
        return []
    metadata = _metadata(run_dir, config) | {"episodes": info["total_episodes"]}
    point = _point(
        run_dir, "replay", f"{config.task.name}-replay", "replay", ["final", *_aliases(run_dir)], metadata
    )
    return [Artifact(point, partial(_write_replay, _folder(run_dir, "replay"), replay))]


def _write_replay(folder: Path, replay: Path) -> None:
    """Without another copy, where the file system has hard links. Nobody writes to the replay any more."""
    shutil.copytree(replay, folder, copy_function=_linked)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _folder(run_dir: Path, name: str) -> Path:
    return run_dir / PUBLISHED / name


def _point(
    run_dir: Path, name: str, title: str, kind: str, aliases: list[str], metadata: Any
) -> dict[str, Any]:
    artifact = {
        "folder": str(_folder(run_dir, name)), "name": title, "type": kind, "aliases": aliases,
        "metadata": metadata,
    }  # fmt: skip
    return {"artifact": artifact}


def _residuals(run_dir: Path) -> list[tuple[str, dict[str, Any], list[str]]]:
    """Name of its folder, checkpoint, aliases; one where the newest is the best."""
    found = {name: content for name in ("newest", "best") if (content := _read(run_dir, name)) is not None}
    best, newest = found.get("best"), found.get("newest")
    if best is not None and newest is not None and best["version"] == newest["version"]:
        return [("best", best, ["best", "final"])]
    aliases = {"newest": "final", "best": "best"}
    return [(name, content, [aliases[name]]) for name, content in found.items()]


def _read(run_dir: Path, name: str) -> dict[str, Any] | None:
    try:
        content = read_checkpoint(residual_place(run_dir / "checkpoints", name))
    except CheckpointError:
        return None
    return (
        content if isinstance(content, dict) and {"version", "updates", "actor"} <= content.keys() else None
    )


def _aliases(run_dir: Path) -> list[str]:
    name = run_dir / "wandb_id"
    return [f"run-{name.read_text().strip()}"] if name.is_file() else []


def _metadata(run_dir: Path, config: Config) -> dict[str, Any]:
    summary, machine = (_json(run_dir / name) for name in ("summary.json", "machine.json"))
    return {
        "task": config.task.env_id,
        "run": run_dir.name,
        "seed": config.seed,
        "algo": config.algo.name,
        "frames": summary.get("frames"),
        "commit": machine.get("commit"),
    }


def _success(content: dict[str, Any]) -> dict[str, Any]:
    """With its 95 % interval (Wilson); nothing of a residual that was not evaluated."""
    facts = facts_of(content)
    if "success" not in facts:
        return facts
    low, high = wilson_interval(facts["success"], facts["episodes"])
    return facts | {"success_low": low, "success_high": high}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
