"""The artifacts of a run on W&B: names, aliases and files, read from what wandb wrote offline."""

import errno
import json
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from actor.policy.checkpoint_file import read_checkpoint, write_safetensors
from config.collect import CollectConfig
from config.compose import compose_config
from config.main import Config
from learner.tracking.published import published
from learner.tracking.results import send_results
from tests.support.shared_runs import RELATIONS, diffusion_base, shared_run
from tests.support.tracked import clean
from tests.support.wandb_records import offline_records

RESIDUAL = {"residual.json", "residual.safetensors", "training.yaml"}
BASE = {"args.json", "checkpoints/best.json", "checkpoints/best.safetensors", "training.yaml"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    clean(monkeypatch, tmp_path)
    words = (f"base.path={diffusion_base(tmp_path / 'base')}", "algo.residual_dims=null", RELATIONS)
    folder = tmp_path / "one"
    config = shared_run(folder, *words, "learner.wandb.project=test")
    best = read_checkpoint(folder / "checkpoints" / "best.safetensors")
    newest = {name: best[name] for name in ("algo", "actor")} | {
        "version": 9,
        "updates": 90,
        "critic": best["actor"],
    }
    write_safetensors(folder / "checkpoints" / "newest.safetensors", newest)
    (folder / "summary.json").write_text(json.dumps({"frames": 5000, "replay": "/somewhere"}))
    (folder / "machine.json").write_text(json.dumps({"commit": "0123abc", "host": "box"}))
    (folder / "metrics.jsonl").write_text("")
    return folder, config


def test_a_run_keeps_its_residuals_and_its_base_once(run: tuple[Path, Any]) -> None:
    folder, config = run
    for _ in range(2):
        send_results(folder, config, threading.Event(), logging.getLogger("launch"))
    name = f"run-{(folder / 'wandb_id').read_text().strip()}"
    artifacts = offline_records(folder, "artifact", count=3)
    found = [(each.name, each.type, {*each.aliases} - {"latest"}) for each in artifacts]
    assert found == [
        ("pick_cube-residual", "residual-policy", {"final", "step-90", name}),
        ("pick_cube-residual", "residual-policy", {"best", "step-40", name}),
        ("pick_cube-base", "base-policy", {name}),
    ]
    files = [{entry.path for entry in each.manifest.contents} for each in artifacts]
    assert files == [RESIDUAL, RESIDUAL, BASE]
    metadata = json.loads(artifacts[1].metadata)
    assert metadata["success"] == 0.75 and metadata["success_low"] < 0.75 < metadata["success_high"]
    assert (metadata["frames"], metadata["commit"], metadata["version"]) == (5000, "0123abc", 3)
    assert "/somewhere" not in artifacts[1].metadata and not (folder / "publishing").exists()
    assert len([*folder.glob("wandb/offline-run-*")]) == 1


def test_what_is_kept_has_no_critics_and_no_path_of_this_machine(
    run: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, config = run
    for artifact in published(folder, config):
        artifact.write()
    kept = folder / "publishing"
    newest = read_checkpoint(kept / "newest" / "residual.safetensors")
    assert newest.keys() == {"version", "updates", "algo", "actor"}
    assert all(isinstance(value, torch.Tensor) for value in newest["actor"].values())
    texts = [path.read_bytes() for path in kept.rglob("*") if path.is_file()]
    assert not any(str(tmp_path).encode() in text for text in texts)


def test_the_best_is_not_sent_twice_where_it_is_the_newest(run: tuple[Path, Any]) -> None:
    folder, config = run
    best = folder / "checkpoints" / "best.safetensors"
    write_safetensors(folder / "checkpoints" / "newest.safetensors", read_checkpoint(best))
    residual, base = (each.point["artifact"] for each in published(folder, config))
    assert residual["aliases"][:2] == ["best", "final"] and base["type"] == "base-policy"


def test_a_run_without_a_checkpoint_has_none(run: tuple[Path, Any]) -> None:
    folder, config = run
    for name in ("best", "newest"):
        (folder / "checkpoints" / f"{name}.safetensors").unlink()
    assert published(folder, config) == []


def test_the_replay_goes_along_where_it_is_asked_for(run: tuple[Path, Any]) -> None:
    folder, config = run
    files = {"meta/info.json": '{"total_episodes": 7}', "data/chunk-000/file-000.parquet": "rows"}
    asked = with_replay(folder, config)
    (folder / "replay/data/chunk-000").mkdir(parents=True)
    (folder / "replay/data/chunk-000/file-000.parquet").write_text("rows")
    assert "replay" not in {each.point["artifact"]["type"] for each in published(folder, config)}
    config = asked
    send_results(folder, config, threading.Event(), logging.getLogger("launch"))
    *_, replay = offline_records(folder, "artifact", count=4)
    name = f"run-{(folder / 'wandb_id').read_text().strip()}"
    assert (replay.name, replay.type) == ("pick_cube-replay", "replay")
    assert {*replay.aliases} - {"latest"} == {"final", name}
    assert {entry.path for entry in replay.manifest.contents} == files.keys()
    metadata = json.loads(replay.metadata)
    assert (metadata["frames"], metadata["episodes"], metadata["commit"]) == (5000, 7, "0123abc")
    assert {name: (folder / "replay" / name).read_text() for name in files} == files
    assert not (folder / "publishing").exists()


def with_replay(folder: Path, config: Config) -> Config:
    """The run with a replay that goes along."""
    (folder / "replay" / "meta").mkdir(parents=True)
    (folder / "replay" / "meta" / "info.json").write_text('{"total_episodes": 7}')
    wandb = msgspec.structs.replace(config.learner.wandb, replay=True)
    return msgspec.structs.replace(config, learner=msgspec.structs.replace(config.learner, wandb=wandb))


def test_what_a_killed_process_has_left_is_not_in_the_way(run: tuple[Path, Any]) -> None:
    folder, config = run[0], with_replay(*run)
    for artifact in published(folder, config):
        artifact.write()
    send_results(folder, config, threading.Event(), logging.getLogger("launch"))
    *_, replay = offline_records(folder, "artifact", count=4)
    assert {entry.path for entry in replay.manifest.contents} == {"meta/info.json"}


def test_a_full_disk_is_a_warning_and_leaves_nothing_half_written(
    run: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, config = run[0], with_replay(*run)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    send_results(folder, config, threading.Event(), logging.getLogger("launch"))
    assert "do not go to W&B: " in caplog.text and "No space left on device" in caplog.text
    assert not (folder / "publishing").exists() and (folder / "results.jsonl").read_text() == ""


def test_a_collection_publishes_no_residual_of_another_run(run: tuple[Path, Any]) -> None:
    folder, config = run
    collect = compose_config(["algo=collect", "algo.episodes=1"]).algo
    assert isinstance(collect, CollectConfig)
    assert published(folder, msgspec.structs.replace(config, algo=collect)) == []
