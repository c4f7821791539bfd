"""Films of real episodes: they end as evaluated, show something, and base and residual differ.

A processor needs half a minute for its first picture, so there is one process for all that is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pytest
import torch

from actor.policy.checkpoint_file import write_safetensors
from actor.policy.residual import ResidualActor
from config.compose import compose_config, write_config
from config.main import Config
from launch.show.film.captions import FOOTER, HEADER
from learner.report.evaluations import EvaluationLog, EvaluationRecord, read_evaluations

FIRST, FRAMES = 1_000_000, 100
WIDTH, HEIGHT = 96, 64
EVALUATE = "learner.evaluation.num_envs=2", "learner.evaluation.episodes=6"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def run(repository: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch", *map(str, words)], cwd=repository, capture_output=True, text=True
    )


def write_residual(place: Path, config: Config, version: int, size: float) -> None:
    """Weights of a residual that corrects a little, at random."""
    residual = ResidualActor(config.algo, 42, 7)
    generator = torch.Generator().manual_seed(version)
    for value in residual.parameters():
        value.data.copy_(size * torch.randn(value.shape, generator=generator))
    place.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": version, "actor": residual.state_dict(), "algo": msgspec.to_builtins(config.algo)}
    write_safetensors(place, content)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A run of PickCube with two residuals, evaluated over six seeds by the evaluation itself."""
    runs = tmp_path_factory.mktemp("runs")
    config = compose_config([f"runs_dir={runs}", "name=a", f"task.max_episode_steps={FRAMES}", *EVALUATE])
    folder = config.run_dir
    write_config(folder / "config.yaml", config)
    log = EvaluationLog(folder, resume=False)
    for version, size in ((0, 0.0), (3, 0.02), (9, 0.05)):
        place = folder / f"checkpoints/evaluated/v{version}.safetensors"
        if version:
            write_residual(place, config, version, size)
            ended = run(repository, "evaluate", folder, "--residual", place)
        else:
            ended = run(repository, "evaluate", *_words(config))
        assert ended.returncode == 0, ended.stderr
        found = json.loads(ended.stdout.splitlines()[-1])
        policy = "full" if version else "base"
        log.add(
            EvaluationRecord(policy, version, 0, 0, 0.0, found["seeds"], found["successes"], found["wall_s"])
        )
    return folder


def _words(config: Config) -> tuple[str, ...]:
    return (f"task.max_episode_steps={config.task.max_episode_steps}", *EVALUATE)


def pictures(path: Path) -> np.ndarray:
    """u1 (T, H, W, 3)"""
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def films(run_dir: Path) -> list[dict[str, Any]]:
    return json.loads((run_dir / "videos/index.json").read_text())["films"]


def test_films_end_as_evaluated_and_show_what_happened(
    run_dir: Path, repository: Path, renderer: None
) -> None:
    ended = run(repository, "film", run_dir, "--pairs", 2, "--size", f"{WIDTH}x{HEIGHT}", "--webp")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    made = films(run_dir)
    assert len(made) == 2 and all(film["as_evaluated"] is True for film in made), made
    base, full = (
        next(e.outcomes for e in reversed(read_evaluations(run_dir)) if e.policy == policy)
        for policy in ("base", "full")
    )
    assert {True, False} <= {*base.values()}, "nothing could go wrong"
    for film in made:
        seed = film["seed"]
        assert [panel["success"] for panel in film["panels"]] == [base[seed], full[seed]]
        shown = pictures(run_dir / "videos" / film["file"])
        assert (run_dir / "videos" / film["file"]).with_suffix(".webp").is_file()
        inside = slice(HEADER + 8, HEADER + HEIGHT - 30)
        left, right = shown[:, inside, 8 : WIDTH - 8], shown[:, inside, -WIDTH + 8 : -8]
        for panel in (left, right):
            assert panel.mean() > 20 and panel[0].std() > 10, "black, or of one colour"
            assert np.abs(panel[0].astype(int) - panel[len(panel) // 2]).max() > 60, "nothing moves"
        assert shown.shape[1] == HEADER + HEIGHT + FOOTER
        assert np.abs(left.astype(int) - right)[len(shown) // 2 :].max() > 60, "base and residual do the same"


def test_a_time_lapse_shows_base_and_both_versions_and_a_wrong_ending_is_said(
    run_dir: Path, repository: Path, renderer: None
) -> None:
    lines = (run_dir / "evaluations.jsonl").read_text().splitlines()
    wrong = json.loads(lines[-1])
    wrong["successes"] = [not success for success in wrong["successes"]]
    (run_dir / "evaluations.jsonl").write_text("\n".join([*lines[:-1], json.dumps(wrong)]) + "\n")
    ended = run(repository, "film", run_dir, "--timelapse", "--seeds", FIRST, "--size", f"{WIDTH}x{HEIGHT}")
    (run_dir / "evaluations.jsonl").write_text("\n".join(lines) + "\n")
    assert ended.returncode == 1 and f"seed {FIRST} of full v9 ended in a " in ended.stderr, ended.stdout
    film = films(run_dir)[-1]
    assert (film["kind"], film["as_evaluated"]) == ("timelapse", False)
    assert [(panel["version"], panel["as_evaluated"]) for panel in film["panels"]] == [
        (0, True), (3, True), (9, False),
    ]  # fmt: skip
