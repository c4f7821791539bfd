"""summary.json: what a run achieved, and where its replay is."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actor.policy.classifier.figures import judged_figures
from config.files import replace_text
from config.main import Config
from learner.checkpoints.bases import PublishedBases
from learner.checkpoints.best import BestCheckpoint
from learner.replay.dataset.store import LeRobotStore
from learner.replay.tools.visualiser import visualiser_command
from learner.report.progress import RunProgress
from protocol.messages import Evaluation


def write_summary(
    run_dir: Path,
    config: Config,
    progress: RunProgress,
    store: LeRobotStore,
    best: BestCheckpoint | PublishedBases,
    results: Mapping[str, Any],
) -> Path:
    """Write `summary.json`, with what the algorithm adds (`results`); return its path."""
    base, full = progress.evaluation_of("base"), progress.evaluation_of("full")
    replay = run_dir / "replay"
    content = {
        "run": config.name,
        "task": config.task.env_id,
        "algo": config.algo.name,
        "seed": config.seed,
        "base_success": base and base.success,
        "final_success": full and full.success,
        **_judged(full),
        "best_success": best.score and best.score.success,
        "best_episodes": best.score and best.score.episodes,
        "best_checkpoint": str(best.place) if best.score else None,
        "behaviour_success": None if math.isnan(progress.behaviour) else progress.behaviour,
        "evaluation_episodes": len(full.seeds) if full else 0,
        "first_evaluation_seed": config.learner.evaluation.first_seed,
        "stopped_early": progress.stopped_early,
        "episodes": progress.episodes,
        "frames": progress.frames,
        "decisions": progress.decisions,
        "updates": progress.updates,
        "wall_s": round(progress.wall_s, 1),
        "evaluation_wall_s": round(sum(e.wall_s for e in progress.evaluations), 1),
        "replay": str(replay),
        "replay_episodes": store.episodes,
        "viz_command": visualiser_command(replay, config.name, max(0, store.episodes - 1)),
        **results,
    }
    place = run_dir / "summary.json"
    replace_text(place, json.dumps(content, indent=2) + "\n")
    return place


def _judged(full: Evaluation | None) -> dict[str, float | None]:
    """What the simulator says of the final evaluation, where a classifier says success."""
    if full is None or full.true_successes is None:
        return {}
    figures = judged_figures(full.successes, full.true_successes)
    return {f"final_{name}": value for name, value in figures.items()}
