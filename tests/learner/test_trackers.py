"""Laws of what trackers show: every point, over frames; evaluations, films, report and summary on W&B."""

import importlib.util
import json
import logging.handlers
import os
import queue
import shlex
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

from config.compose import compose_config
from config.section import ConfigError
from launch.run.launcher import launch
from learner.intervals import wilson_interval
from learner.report.metrics import Metrics
from learner.run import run_learner
from learner.tracking import trackers
from learner.tracking.results import send_results
from learner.tracking.trackers import TrackerError
from tests.support.tracked import clean, tracked
from tests.support.wandb_records import offline_points, offline_records, offline_summary

INSTALL = "bash launch/setup_env.sh trackers"
BASE = {"frames": 0, "updates": 0, "t_s": 0.0, "success_base": 0.4, "eval_episodes": 100, "eval_version": 0}
LATE = {"frames": 100, "updates": 20, "t_s": 4.0, "success_full": 0.8, "eval_episodes": 40, "eval_version": 3}
POINTS: list[dict[str, Any]] = [
    BASE | {"eval_wall_s": 3.0},
    {"frames": 100, "updates": 20, "loss/critic": 0.5, "waiting_for": "stays out", "q_mean": None},
    {"frames": 200, "updates": 40, "loss/critic": 0.25, "waiting_for": "", "q_mean": 1.0},
    LATE | {"eval_wall_s": 5.0},
]
# Seed -> whether it ended as evaluated; None: nobody evaluated it.
FILMED = {5: True, 6: None, 7: False}
SUMMARY = {"run": "a", "final_success": 0.8, "frames": 200, "stopped_early": "good enough", "replay": "/a"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean(monkeypatch, tmp_path)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What people read of trackers."""
    return [r.getMessage() for r in caplog.records if r.name.startswith(("learner.tracking", "launch"))]


def numbers(point: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in point.items() if isinstance(value, int | float)}


def last_values(points: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: value for point in points for key, value in numbers(point).items()}


def record(folder: Path, *words: str, points: list[dict[str, Any]] = POINTS, **more: bool) -> None:
    with Metrics(tracked(folder, *words, **more)) as metrics:
        for point in points:
            metrics.log(point)
        (folder / "summary.json").write_text(json.dumps(SUMMARY))


def require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: {INSTALL}")


def tables(folder: Path, name: str) -> list[dict[str, Any]]:
    """As wandb wrote them, oldest first."""
    found = sorted(folder.glob(f"wandb/offline-run-*/files/media/table/{name}_*.json"), key=os.path.getmtime)
    return [json.loads(path.read_text()) for path in found]


def row(policy: str, point: dict[str, Any]) -> list[Any]:
    success, episodes = point[f"success_{policy}"], point["eval_episodes"]
    figures = (point[key] for key in ("frames", "updates", "t_s", "eval_version"))
    return [policy, success, *wilson_interval(success, episodes), *figures, episodes, point["eval_wall_s"]]


def write_film(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("h264", rate=20, options={"preset": "ultrafast"})
        stream.width = stream.height = 16
        for shade in range(4):
            picture = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 60 * shade, np.uint8), "rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode())


def make_results(folder: Path) -> None:
    """Films and a report, as the end of a run makes them. One film is named and missing."""
    films = [
        {"file": f"{seed}.mp4", "kind": "rescued", "seed": seed, "policy": "full", "version": 7,
         "success": True, "as_evaluated": evaluated}
        for seed, evaluated in FILMED.items()
    ]  # fmt: skip
    (folder / "videos").mkdir()
    for film in films:
        write_film(folder / "videos" / film["file"])
    films.append(films[0] | {"file": "gone.mp4"})
    (folder / "videos/index.json").write_text(json.dumps({"films": films}))
    (folder / "report.html").write_text("<p>the report</p>")


class Shown(NamedTuple):
    """A run that is over, and all that was said of trackers."""

    folder: Path
    said: list[str]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """By real wandb, offline: the learner's points, then films and report twice."""
    home, lines = tmp_path_factory.mktemp("home"), logging.handlers.QueueHandler(queue.SimpleQueue())
    words = ("wandb.project=test", "wandb.entity=somebody", "wandb.group=several", "wandb.tags=[one,two]")
    with pytest.MonkeyPatch.context() as patch:
        clean(patch, home)
        patch.setenv("WANDB_TAGS", "of-the-environment")
        (home / ".env").write_text("WANDB_NOTES='of the environment'\n")
        patch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.1")
        loggers = [logging.getLogger(name) for name in ("learner.tracking", "launch")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.INFO)  # which forgets what an earlier test was told of this level
            logger.addHandler(lines)
        config = compose_config([f"runs_dir={home}", "name=run", *(f"learner.{word}" for word in words)])
        record(config.run_dir, *words, has_launcher=True)
        make_results(config.run_dir)
        for _ in range(2):
            patch.delenv("WANDB_NOTES", raising=False)  # the launcher is another process
            send_results(config.run_dir, config, threading.Event(), loggers[1])
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            logger.removeHandler(lines)
        yield Shown(config.run_dir, [lines.queue.get().getMessage() for _ in range(lines.queue.qsize())])


def test_wandb_has_every_point_over_frames(shown: Shown) -> None:
    points = offline_points(shown.folder, count=len(POINTS))
    assert [point["_step"] for point in points] == [0, 1, 2, 3]
    for point, logged in zip(POINTS, points, strict=True):
        assert logged.items() >= numbers(point).items() and "waiting_for" not in logged
    metrics = offline_records(shown.folder, "metric")
    axes = {metric.name or metric.glob_name: metric.step_metric for metric in metrics}
    assert axes["*"] == axes["loss/critic"] == axes["success_full"] == "frames"


def test_wandb_has_the_evaluations_as_a_table(shown: Shown) -> None:
    newest = tables(shown.folder, "evaluations")[-1]
    assert newest["data"] == [row("base", POINTS[0]), row("full", POINTS[3])]
    assert newest["columns"][:4] == ["policy", "success", "low", "high"]


def test_wandbs_summary_is_the_newest_of_each_figure_and_the_summary_of_the_run(shown: Shown) -> None:
    points = [json.loads(line) for line in (shown.folder / "metrics.jsonl").read_text().splitlines()]
    of_run = json.loads((shown.folder / "summary.json").read_text())
    expected = last_values(points) | numbers(of_run) | {"stopped_early": "good enough"}
    summary = offline_summary(shown.folder)
    assert {key: summary[key] for key in expected} == expected and "replay" not in summary


def test_wandb_has_names_from_the_configuration_else_from_the_environment(shown: Shown) -> None:
    for number in (0, 1):
        [run] = offline_records(shown.folder, "run", run=number)
        assert run.run_id == (shown.folder / "wandb_id").read_text().strip()
        assert (run.entity, run.project, run.run_group) == ("somebody", "test", "several")
        assert (list(run.tags), run.notes) == (["one", "two"], "of the environment")


def test_wandb_has_the_systems_figures(shown: Shown) -> None:
    assert offline_records(shown.folder, "stats")


def test_films_and_report_follow_once_the_run_is_over_each_once(shown: Shown) -> None:
    points = offline_points(shown.folder, count=4, run=1)
    assert [point["_step"] for point in points] == [4, 5, 6, 7]
    # Each is logged as it comes, with a number of its own.
    sent = [(point["films._type"], point["films.increment_num"]) for point in points[:3]]
    assert sent == [("incremental-table-file", number) for number in range(3)]
    rows = [[row[1:] for row in table["data"]] for table in tables(shown.folder, "films")]
    assert rows == [[["rescued", seed, "full", 7, True, same]] for seed, same in FILMED.items()]
    assert points[3]["report._type"] == "html-file"
    [report] = shown.folder.glob("wandb/offline-run-*/files/media/html/*.html")
    assert report.read_text() == "<p>the report</p>"


def test_an_offline_run_says_once_how_all_of_it_is_sent(shown: Shown) -> None:
    first, second = map(str, sorted(shown.folder.glob("wandb/offline-run-*")))
    both = f"W&B: to send it: wandb sync --append {first} {second}"
    # The learner leaves it to the launcher, which says it at each call.
    assert shown.said == [both, both]


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_wandb_and_all_parts_are_sent_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "my run"
    record(folder, points=POINTS[:2])
    record(folder, points=POINTS[2:], resume=True)
    later = offline_points(folder, count=2, run=1)
    assert [(point["_step"], point["frames"]) for point in later] == [(2, 200), (3, 100)]
    ids = {run.run_id for number in (0, 1) for run in offline_records(folder, "run", run=number)}
    assert ids == {(folder / "wandb_id").read_text().strip()}
    assert tables(folder, "evaluations")[-1]["data"] == [row("base", POINTS[0]), row("full", POINTS[3])]
    kept = map(str, sorted(folder.glob("wandb/offline-run-*")))
    assert said(caplog)[-1] == f"W&B: to send it: wandb sync --append {shlex.join(kept)}"


@pytest.mark.parametrize("index", ["{", "[]", '{"films": 3}', '{"films": [3]}'])
def test_a_damaged_list_of_films_is_one_line(
    index: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = compose_config([f"runs_dir={tmp_path}", "name=run"])
    (config.run_dir / "videos").mkdir(parents=True)
    (config.run_dir / "videos/index.json").write_text(index)
    send_results(config.run_dir, config, threading.Event(), logging.getLogger("launch"))
    [line] = said(caplog)
    assert "no film goes to W&B" in line and "index.json is damaged" in line


def test_tensorboard_has_every_point_over_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    require("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    caplog.set_level(logging.INFO)
    folder = tmp_path / "run"
    record(folder, "tracking=[tensorboard]", points=POINTS[:2])
    record(folder, "tracking=[tensorboard]", points=POINTS[2:], resume=True)
    assert said(caplog) == [f"TensorBoard: to see it: tensorboard --logdir {folder}/tensorboard"] * 2
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    found = {(tag, event.step): event.value for tag in tags for event in events.Scalars(tag)}
    expected = {(key, point["frames"]): value for point in POINTS for key, value in numbers(point).items()}
    assert found == pytest.approx(expected)
    assert not (folder / "wandb").exists()


def test_trackio_has_every_point_over_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    require("trackio")
    caplog.set_level(logging.INFO)
    folder = tmp_path / "run"
    record(folder, "tracking=[trackio]", points=POINTS[:2])
    record(folder, "tracking=[trackio]", points=POINTS[2:], resume=True)
    assert said(caplog) == ["trackio: to see it: trackio show --project test"] * 2
    with sqlite3.connect(tmp_path / "trackio/test.db") as database:
        found = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert [(name, step) for name, step, _ in found] == [("run", point["frames"]) for point in POINTS]
    for point, (_, _, logged) in zip(POINTS, found, strict=True):
        assert json.loads(logged) == numbers(point)


@pytest.mark.slow
def test_several_trackers_have_the_same_points(tmp_path: Path) -> None:
    require("tensorboard")
    record(tmp_path / "run", "tracking=[tensorboard,wandb]")
    assert len(offline_points(tmp_path / "run", count=4)) == 4
    assert list((tmp_path / "run/tensorboard").glob("events.*"))


@pytest.mark.parametrize("words", ["tracking=[]", "wandb.mode=disabled"])
def test_without_trackers_nothing_is_started(words: str, tmp_path: Path) -> None:
    record(tmp_path / "run", words)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["metrics.jsonl", "summary.json"]


def test_a_tracker_that_is_not_installed_is_one_line_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "trackio" else name)
    config = compose_config([f"runs_dir={tmp_path}/runs", "tracking=[tensorboard,trackio]"])
    for start in (lambda: launch(config), lambda: run_learner(config, threading.Event())):
        with pytest.raises(TrackerError) as refused:
            start()
        assert str(refused.value) == (
            f"tracking asks for trackio, which is not installed: {INSTALL}, or tracking=[tensorboard]"
        )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("tracking=[mlflow]", "$.tracking[0]"),
        ("tracking=wandb", "$.tracking"),
        ("learner.wandb.tags=['']", "tags must be texts of 1 to 64 characters"),
        ("learner.wandb.grup=a", "grup"),
    ],
)
def test_a_wrong_key_is_named(word: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_config([word])
    assert says in str(refused.value)
