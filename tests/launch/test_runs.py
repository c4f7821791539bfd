"""residual-rl runs: every cell is that of the run's files, and no folder stops it."""

import csv
import io
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from config.compose import compose_config, config_text
from config.main import Config
from launch.run.launcher import note_machine
from launch.run.machine import read_machine, write_machine
from launch.run.startable import LaunchError
from launch.show.table.rows import Row
from launch.show.table.settings import as_words, differences
from launch.show.table.show import write_table
from tests.support.ordinary_user import ordinary_user
from tests.support.program import residual_rl
from tests.support.watched_run import (
    FINISHED,
    finished_run,
    newest_point,
    points_of,
    start_launcher,
    unfinished_run,
)

STUDY = FINISHED.parents[2] / "docs/history/study.jsonl"


def wilson(rate: float, trials: int) -> tuple[float, float]:
    """Wilson's interval, written down as in his paper."""
    z = 1.959964
    centre = rate + z**2 / (2 * trials)
    spread = z * math.sqrt((rate * (1 - rate) + z**2 / (4 * trials)) / trials)
    return max(0, (centre - spread) / (1 + z**2 / trials)), min(1, (centre + spread) / (1 + z**2 / trials))


def table(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """Name -> the cells of its row."""
    assert residual_rl("runs", str(folder), "--csv") == 0
    return {row["name"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}


def test_a_finished_run_has_the_figures_of_its_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = finished_run(tmp_path / "whole")
    write_machine(run_dir, ["run", "name=whole"])
    row, summary, machine = (
        table(tmp_path, capsys)["whole"],
        json.loads((run_dir / "summary.json").read_text()),
        read_machine(run_dir),
    )
    assert machine is not None
    assert (row["state"], row["task"], row["algo"], row["seed"]) == (
        "finished", "PickCube-v1", "residual_td3", "0",
    )  # fmt: skip
    assert float(row["base"]) == summary["base_success"] and float(row["final"]) == summary["final_success"]
    assert (float(row["low"]), float(row["high"])) == pytest.approx(wilson(summary["final_success"], 100))
    assert int(row["frames"]) == summary["frames"]
    assert float(row["minutes"]) == pytest.approx(summary["wall_s"] / 60)
    assert row["wandb"] == (FINISHED / "wandb_id").read_text().strip()
    assert row["commit"] == machine.commit + "+" * machine.dirty and row["differs"] == ""


def test_an_unfinished_run_has_its_newest_figures(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = unfinished_run(tmp_path / "half", 20)
    points = points_of(run_dir)
    full = [point for point in points if "success_full" in point][-1]
    row = table(tmp_path, capsys)["half"]
    assert row["state"] == "stopped" and float(row["final"]) == full["success_full"]
    low_high = wilson(full["success_full"], full["eval_episodes"])
    assert (float(row["low"]), float(row["high"])) == pytest.approx(low_high)
    assert int(row["frames"]) == newest_point(run_dir)["frames"]
    assert float(row["minutes"]) == pytest.approx(newest_point(run_dir)["t_s"] / 60)
    with start_launcher(run_dir, repository) as launcher:
        assert table(tmp_path, capsys)["half"]["state"] == "running"
        launcher.kill()


def test_folders_that_cannot_be_read_are_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(tmp_path / "whole")
    for name in ("torn", "young", "damaged", "yaml"):
        unfinished_run(tmp_path / name, 9)
    (tmp_path / "empty").mkdir()
    (tmp_path / "spools").mkdir()
    shutil.copytree(FINISHED.with_name("run_of_the_release_before"), tmp_path / "old")
    with (tmp_path / "torn/metrics.jsonl").open("a") as file:
        file.write('{"frames": NaN}\nnonsense\n{"frames": 1')
    (tmp_path / "young/metrics.jsonl").unlink()
    (tmp_path / "damaged/summary.json").write_text("{")
    (tmp_path / "yaml/launch.yaml").write_text("a: [")
    (tmp_path / "yaml/config.yaml").write_text("[1]")
    (tmp_path / "notes.jsonl").write_text('{"of": "somebody else"}\n' * 40)
    assert residual_rl("runs", str(tmp_path)) == 0
    shown = capsys.readouterr()
    assert [line.partition(": ")[0] for line in shown.err.splitlines()] == [
        f"{tmp_path}/notes.jsonl",
        f"{tmp_path}/damaged/summary.json is damaged",
        f"{tmp_path}/empty is no run",
        f"{tmp_path}/old/metrics.jsonl has no point",
        f"{tmp_path}/torn/metrics.jsonl",
        f"{tmp_path}/yaml/launch.yaml cannot be read",
        f"{tmp_path}/yaml/config.yaml has no settings",
        f"{tmp_path}/young/metrics.jsonl has no point",
    ]
    rows = shown.out.splitlines()[1:]
    assert {row.split()[2] for row in rows} == {"whole", "torn", "young", "damaged", "yaml", "old"}
    assert "base=zero" in next(row for row in rows if " old " in row)


def test_a_run_that_may_not_be_read_is_a_line_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("closed", "metrics", "open"):
        unfinished_run(tmp_path / name, 9)
    (tmp_path / "metrics/metrics.jsonl").chmod(0)
    (tmp_path / "closed").chmod(0)
    with ordinary_user():
        assert residual_rl("runs", str(tmp_path)) == 0
    (tmp_path / "closed").chmod(0o755)
    shown = capsys.readouterr()
    assert [line.rpartition("/")[2] for line in shown.err.splitlines()] == [
        "launch.yaml cannot be read: Permission denied",
        "metrics.jsonl cannot be read: Permission denied",
    ]
    assert [row.split()[2] for row in shown.out.splitlines()[1:]] == ["open"]


def test_a_study_adds_its_name_and_the_runs_whose_folders_are_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [json.loads(line) for line in STUDY.read_text().splitlines()[:3]]
    there = records[0]
    unfinished_run(tmp_path / there["name"], 9)
    lines = [json.dumps(record | {"status": "failed: no base"}) for record in records]
    (tmp_path / "study.jsonl").write_text("\n".join([*lines, "{"]) + "\n")
    rows = table(tmp_path, capsys)
    assert set(rows) == {record["name"] for record in records}
    assert rows[there["name"]]["state"] == "failed: no base"
    assert rows[there["name"]]["study"] == there["study"] and rows[there["name"]]["commit"] == there["commit"]
    gone = rows[records[1]["name"]]
    assert gone["state"] == "failed: no base, gone" and gone["differs"] == records[1]["command"]
    assert float(gone["final"]) == records[1]["final"]["success"]
    assert int(gone["frames"]) == records[1]["frames"]


def test_two_folders_of_one_name_are_two_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(tmp_path / "one/twin")
    unfinished_run(tmp_path / "two/twin", 9)
    assert [table(tmp_path / name, capsys)["twin"]["state"] for name in ("one", "two")] == [
        "finished",
        "stopped",
    ]


def test_no_folder_and_no_run_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert residual_rl("runs") == 2
    assert capsys.readouterr().err.startswith("error: no folder runs: start a run")
    assert residual_rl("runs", ".") == 0
    assert capsys.readouterr().out == "no run in .\n"


def settings(*words: str) -> dict:
    import yaml

    config: Config = compose_config(["name=a", *words])
    return yaml.safe_load(config_text(config))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "algo.gamma=0.9",
        "base.path=elsewhere",
        "learner.stop_at=null",
        "learner.evaluation.episodes=7 actor.num_envs=3",
        "algo.hidden=[8,8]",
    ],
)
@pytest.mark.parametrize("choice", ["", "task=stack_cube", "algo=policy_decorator"])
def test_what_differs_is_what_was_asked_for(words: str, choice: str) -> None:
    asked = [*choice.split(), *words.split(), "seed=3", "runs_dir=there", "wire.experience_port=1"]
    found = differences(settings(*asked))
    assert sorted(as_words(found).split()) == sorted(words.split())


def test_another_base_differs() -> None:
    assert as_words(differences(settings("base=zero"))).split()[0] == "base=zero"


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_narrow_terminal_has_fewer_columns_and_no_cut_word(columns: int) -> None:
    rows = [
        Row(name="a-run", state="finished", started=1.8e9, task="PickCube-v1", algo="residual_td3", seed=0,
            base=0.42, final=0.99, low=0.95, high=1.0, frames=180_749, minutes=12.5, commit="14664d8",
            differs="learner.total_frames=130000 learner.wandb.mode=disabled algo.gamma=0.9"),
        Row(name="another-run", state="running"),
    ]  # fmt: skip
    narrow, wide = io.StringIO(), io.StringIO()
    write_table(rows, columns, narrow)
    write_table(rows, None, wide)
    shown, _, left_out = narrow.getvalue().partition("(")
    assert all(len(line) <= columns for line in narrow.getvalue().splitlines())
    assert set(shown.split()) <= set(wide.getvalue().split()) and {"a-run", "another-run"} <= set(
        shown.split()
    )
    assert all((heading in shown.split()) != (heading in left_out) for heading in ("time", "frames", "study"))
    assert len(wide.getvalue().splitlines()) == 3


def test_each_start_is_written_down_and_no_earlier_one_is_lost(tmp_path: Path) -> None:
    write_machine(tmp_path, ["run", "name=my run"])
    first = read_machine(tmp_path)
    write_machine(tmp_path, ["run", "name=my run", "seed=1"])
    second = read_machine(tmp_path)
    assert first is not None and second is not None
    assert first.command == "residual-rl run 'name=my run'" and first.earlier == ()
    assert [start.started_unix for start in second.earlier] == [first.started_unix]
    assert second.first.command == first.command and second.started_unix >= first.started_unix
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    assert first.commit == head.strip() and first.packages["torch"] and first.python.startswith("3.")
    assert first.cpu.endswith(f"{len(os.sched_getaffinity(0))} cores")


def test_a_folder_in_which_it_cannot_be_written_refuses_the_run_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a/machine.json").mkdir(parents=True)
    with pytest.raises(LaunchError, match=r"a/machine\.json cannot be written: Is a directory$"):
        note_machine(compose_config(["name=a", f"runs_dir={tmp_path}"]), [])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["machine.json"]


def test_a_machine_json_that_cannot_be_read_counts_as_none(tmp_path: Path) -> None:
    for content in ("", "{}", '{"commit": 3}', "\xff"):
        (tmp_path / "machine.json").write_text(content)
        assert read_machine(tmp_path) is None
