"""Evaluates a policy over recorded episodes, and writes figures and pictures."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from config.files import replace_text
from config.process import UsageError
from config.tracking import TrackerName, WandbConfig
from launch.open_loop.measure import Plan, figures
from launch.open_loop.picture import draw
from launch.open_loop.policy import Planner
from launch.open_loop.recorded import Dataset
from learner.report.metrics import Metrics
from learner.tracking.trackers import Tracked

log = logging.getLogger("open-loop")

_DRAWN = 3  # episodes


def evaluate_open_loop(
    policy: str, data: str, out: Path, *, episodes: int, horizon: int | None, every: int | None, device: str
) -> dict[str, Any]:
    """Figures over the first episodes of a dataset, also in `out`/open_loop.json, with pictures beside it.
    Raises UsageError: policy or dataset cannot be used, or do not fit."""
    planner, dataset = Planner(policy, device, horizon), Dataset(data)
    dataset.require(planner.states | planner.pictures | {"action": _action_shape(planner)}, policy)
    plans: list[Plan] = []
    for recorded in dataset.read(tuple(planner.states), tuple(planner.pictures), episodes):
        made = list(planner.plans(recorded, every or planner.horizon))
        plans += made
        if recorded.index < _DRAWN:
            draw(out / f"episode-{recorded.index}.png", recorded.actions.numpy(), made)
    if not plans:
        raise UsageError(f"{data} has no frame to compare with")
    result = {
        "policy": policy,
        "type": planner.config.type,
        "dataset": data,
        "episodes": len({plan.episode for plan in plans}),
        "horizon": planner.horizon,
        **figures(plans),
    }
    replace_text(out / "open_loop.json", json.dumps(result, indent=2) + "\n")
    return result


def track(result: dict[str, Any], out: Path, tracking: Sequence[TrackerName], wandb: WandbConfig) -> None:
    """Show the figures on trackers, which `require_trackers` has found usable."""
    numbers = {
        f"open_loop/{name}": value for name, value in result.items() if isinstance(value, int | float)
    } | {f"open_loop/mse_of_step_{step}": value for step, value in enumerate(result["mse_by_step"])}
    shown = {name: result[name] for name in ("policy", "type", "dataset")}
    tracked = Tracked(
        out, tuple(tracking), wandb, msgspec.to_builtins(shown), axis="plans", job_type="evaluate_open_loop"
    )
    with Metrics(tracked) as metrics:
        metrics.log({"plans": result["plans"], **numbers})


def _action_shape(planner: Planner) -> tuple[int, ...]:
    return tuple((planner.config.output_features or {})["action"].shape)
