"""The folder of a run as its processes write it, without the processes."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from config.compose import compose_config, write_config
from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.writer import LeRobotWriter
from learner.report.metrics import Metrics
from tests.support.identifiable import ACT, OBS, make_stream, pack
from tests.support.tracked import tracked

MACHINE = {
    "commit": "0123abc", "dirty": True, "python": "3.12.1", "host": "box", "cpu": "a processor", "gpu": None,
    "packages": {"torch": "2.10.0", "numpy": "2.1"}, "started_unix": 1.7e9,
    "command": "bash launch/start.sh name=one",
}  # fmt: skip


def training_point(frames: int, **more: Any) -> dict[str, Any]:
    """As the learner writes one every few seconds."""
    done = frames / 40_000
    return {
        "t_s": frames / 50, "frames": frames, "updates": frames // 16, "episodes": frames // 80,
        "frames_per_s": 50.0 + done, "updates_per_s": 3.0, "success_behaviour": 0.3 + 0.5 * done,
        "policy_lag": 1.5, "loss/critic": 0.02, "loss/actor": -0.4 * done, "q_mean": 0.5 * done,
        "target_mean": 0.51 * done, "return_earned": 0.4 * done, "residual_size": 0.07,
        "residual_at_bound": 0.01,
        "decisions": frames // 4, "version": frames // 100, "mask_probability": 0.5, "policy_lag_s": 2.0,
        "waiting_for": "" if frames else "first experience, 0 actors connected",
    } | more  # fmt: skip


def evaluation_point(policy: str, frames: int, success: float, episodes: int = 40) -> dict[str, Any]:
    return {
        "t_s": frames / 50, "frames": frames, "decisions": frames // 4, "updates": frames // 16,
        f"success_{policy}": success, "eval_episodes": episodes, "eval_version": frames // 100,
        "eval_wall_s": 12.0,
    }  # fmt: skip


def usual_points(last: int = 40_000) -> list[dict[str, Any]]:
    points = [training_point(frames) for frames in range(0, last, 1000)]
    rates = [evaluation_point("full", frames, 0.4 + 0.5 * frames / last) for frames in range(0, last, 8000)]
    return [
        *points,
        evaluation_point("base", 0, 0.42, 100),
        *rates,
        evaluation_point("full", last, 0.95, 100),
    ]


def write_points(run_dir: Path, points: Sequence[dict[str, Any]], *, resume: bool = False) -> None:
    with Metrics(tracked(run_dir, "tracking=[]", resume=resume)) as metrics:
        for point in points:
            metrics.log(point)


def write_replay(folder: Path, name: str, lengths: dict[str, list[int]]) -> None:
    """Episodes of these lengths of each actor; all succeed, with identifiable contents."""
    spec = DatasetSpec(name, OBS, ACT, fps=20, robot_type="panda", task="PickCube-v1", state_dim=3)
    writer, position = LeRobotWriter(folder, spec, None), 0
    for session, (actor, own) in enumerate(lengths.items()):
        assembler = EpisodeAssembler()
        for truth in make_stream(actor, 100 * session, own, sub_envs=1)[0]:
            writer.append(assembler.add(actor, session, [(pack(truth.rows), position)]))
            position += len(truth.rows) + 1
            writer.commit()


def write_metadata(replay: Path, episodes: int, actors: Sequence[str]) -> list[dict[str, Any]]:
    """Of a replay with many episodes, what `read_outcomes` reads; returns the rows."""
    draw = random.Random(0)
    rows = [
        {
            "episode_index": index,
            "length": draw.randint(10, 100),
            "stats/next.success/max": [float(draw.random() < 0.7)],
            "stats/next.reward/mean": [draw.random() / 100],
            "stats/weights_version/min": [index // 7],
            "stats/actor/min": [draw.randrange(len(actors))],
        }
        for index in range(episodes)
    ]
    place = replay / "meta/episodes/chunk-000/file-000.parquet"
    place.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), place)
    (replay / "meta/info.json").write_text(json.dumps({"total_episodes": episodes}))
    (replay / "meta/residual_rl.json").write_text(json.dumps({"repo_id": "x", "actors": list(actors)}))
    return rows


def make_run(run_dir: Path, *words: str, points: Sequence[dict[str, Any]] | None = None) -> Path:
    """A run that goes on, with two actors and eight episodes; `words` set its configuration."""
    config = compose_config([f"name={run_dir.name}", f"runs_dir={run_dir.parent}", *words])
    write_config(run_dir / "launch.yaml", config)
    write_config(run_dir / "config.yaml", config)
    write_points(run_dir, usual_points() if points is None else points)
    write_replay(run_dir / "replay", run_dir.name, {"actor-0": [6, 3, 5, 9, 4], "actor-1": [7, 2, 8]})
    actors = [
        {"name": name, "host": "127.0.0.1", "sub_envs": 6, "frames": 20_000, "frames_per_s": 25.5,
         "lag_versions": 1, "last_heard_s": 0.5, "alive": True}
        for name in ("actor-0", "actor-1")
    ]  # fmt: skip
    status = {"t_unix": 1.7e9, "waiting_for": "", "actors": actors}
    (run_dir / "status.json").write_text(json.dumps(status))
    (run_dir / "machine.json").write_text(json.dumps(MACHINE))
    return run_dir


def finish(run_dir: Path) -> None:
    """The run is over."""
    summary = {
        "run": run_dir.name,
        "base_success": 0.42,
        "final_success": 0.95,
        "frames": 40_000,
        "wall_s": 800.0,
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))
