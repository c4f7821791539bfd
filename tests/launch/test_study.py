"""Laws of a study: what it measures, what it repeats, and that it ends cleanly. Runs are stand-ins here;
`test_run.py` has the real one."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.compose import compose_config
from config.process import StopRequest
from config.section import ConfigError
from launch.study import study as studies
from launch.study.plot import curve_of, draw, mean_and_range, newest_runs
from launch.study.records import HEADING, add_row, first_at, longest_dip, measure, read_records
from tests.support.helpers import left_running

# A run that leaves what a real one leaves, for `seed=7` an error, for `seed=9` no end.
STAND_IN = """
import json, os, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
assert words["wire.experience_port"] != words["wire.weights_port"]
folder = pathlib.Path(words["runs_dir"], words["name"])
folder.joinpath("pid").touch()
folder.joinpath("group").write_text(os.environ["WANDB_RUN_GROUP"])
if words["seed"] == "7":
    print("learner   | error: no such base"); sys.exit("launch    | run ended early (exit code 1)")
while words["seed"] == "9":
    time.sleep(0.1)
points = [
    dict(t_s=0, frames=0, decisions=0, updates=0, success_base=0.4, eval_episodes=100, eval_version=1,
         eval_wall_s=5.0),
    dict(t_s=60, frames=5000, decisions=1250, updates=0, episodes=50, success_behaviour=0.4, waiting_for=""),
    dict(t_s=65, frames=5400, decisions=1350, updates=9, episodes=54, success_behaviour=0.24, waiting_for=""),
    dict(t_s=70, frames=5800, decisions=1450, updates=20, episodes=58, success_behaviour=0.2, waiting_for=""),
    dict(t_s=95, frames=7000, decisions=1750, updates=90, episodes=170, success_behaviour=0.5),
    dict(t_s=62, frames=5100, decisions=1300, updates=3, success_full=0.55, eval_episodes=40, eval_version=4,
         eval_wall_s=8.0),
    dict(t_s=110, frames=8000, decisions=2000, updates=150, episodes=190, success_behaviour=0.1,
         waiting_for="the final evaluation"),
    dict(t_s=99, frames=7200, decisions=1800, updates=99, success_full=0.8, eval_episodes=100, eval_version=9,
         eval_wall_s=20.0),
]
folder.joinpath("metrics.jsonl").write_text("".join(json.dumps(point) + chr(10) for point in points))
summary = dict(frames=7200, decisions=1800, updates=100, wall_s=100.0)
folder.joinpath("summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "RUN", (sys.executable, "-c", STAND_IN))


def words(folder: Path, *more: str) -> list[str]:
    return [
        f"runs_dir={folder}/runs", f"record={folder}/study.jsonl", f"table={folder}/table.md",
        "seeds=[0]", *more,
    ]  # fmt: skip


def run(folder: Path, *more: str) -> list[dict]:
    """Run a study here; all records so far."""
    studies.run_study(studies.read_study(words(folder, *more)), StopRequest())
    return read_records(folder / "study.jsonl")


def test_a_run_becomes_a_record_with_curves_and_a_row(tmp_path: Path, stand_in: None) -> None:
    (record,) = run(tmp_path)
    assert record["status"] == "finished" and record["command"] == "task=pick_cube"
    assert (record["frames"], record["wall_s"], record["evaluation_s"]) == (7200, 100.0, 33.0)
    assert record["base"]["success"] == 0.4 and record["final"]["success"] == 0.8
    assert record["base"]["low"] == pytest.approx(0.309, abs=1e-3)
    assert [point["frames"] for point in record["curves"]["full"]] == [5100, 7200]
    assert len(record["curves"]["behaviour"]) == 4, "behaviour after the last update is none"
    assert record["curves"]["behaviour"][-1]["episodes"] == 100
    assert record["lowest_behaviour"]["success"] == 0.2 and record["dip_s"] == 5.0
    assert record["to"]["0.50"] == {"frames": 5100, "decisions": 1300, "updates": 3, "wall_s": 62}
    assert record["to"]["0.75"]["frames"] == 7200 and record["to"]["0.90"] is None
    row = (tmp_path / "table.md").read_text().splitlines()[-1]
    assert row.endswith(
        "| 7 k | 100 | 33 | .40 (100) | .80 (100) | .20 at 6 k, 5 s below | 5 k, 62 s | 7 k, 99 s | no |"
    )


@pytest.mark.parametrize(("environment", "group"), [(None, "lights"), ("a-group-of-mine", "a-group-of-mine")])
def test_trackers_show_the_runs_of_a_study_as_a_group(
    environment: str | None, group: str, tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    if environment is not None:
        monkeypatch.setenv("WANDB_RUN_GROUP", environment)
    (record,) = run(tmp_path, "name=lights")
    assert (tmp_path / "runs" / record["name"] / "group").read_text() == group


def test_a_level_counts_where_it_was_first_reached_and_a_dip_where_it_lasted() -> None:
    curve = [dict(frames=f, decisions=f, updates=f, wall_s=f, success=s) for f, s in ((1, 0.6), (2, 0.4))]
    assert first_at(curve, 0.5)["wall_s"] == 1 and first_at(curve, 0.61) is None
    untrained = dict(curve[0], updates=0)
    assert first_at([untrained], 0.5) is None and first_at([untrained, *curve], 0.5) == first_at(curve, 0.5)
    lows = [(0, 0.1), (10, 0.1), (20, 0.4), (30, 0.24), (45, 0.2), (60, 0.25), (70, 0.0)]
    assert longest_dip([dict(wall_s=t, success=s) for t, s in lows], base=0.4) == 15.0


def test_rows_of_failures_stand_beside_the_others_and_the_rest_of_the_page_stays(
    tmp_path: Path, stand_in: None
) -> None:
    page = tmp_path / "table.md"
    page.write_text("# Experiments\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
    first, second = run(tmp_path, "seeds=[7, 8]")
    page.write_text(page.read_text() + "\n## Afterwards\n\nwords\n")
    assert first["status"] == "failed: no such base" and first["final"] is None
    add_row(page, first)
    text = page.read_text()
    assert text.startswith("# Experiments") and text.endswith("\n## Afterwards\n\nwords\n")
    rows = text[text.index(HEADING) : text.index("## Afterwards")].strip().splitlines()[-3:]
    assert [("failed: no such base" in row) for row in rows] == [True, False, True]


def test_a_run_is_made_once_for_the_same_code_overrides_and_seed(
    tmp_path: Path, stand_in: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(run(tmp_path)) == len(run(tmp_path)) == 1
    assert len(run(tmp_path, "settings={default: [], slow: [algo.utd=1]}")) == 2
    assert len(run(tmp_path, "settings={slow: [algo.utd=1]}", "seeds=[0, 1]")) == 3
    monkeypatch.setattr(studies.CodeVersion, "here", classmethod(lambda cls: cls("other", "another digest")))
    assert len(run(tmp_path)) == 4


@pytest.mark.slow
def test_the_budget_ends_the_run_under_way_and_begins_no_other(tmp_path: Path, stand_in: None) -> None:
    records = run(tmp_path, "seeds=[9, 1]", "budget_min=0.02")
    assert [record["status"] for record in records] == ["stopped: budget"]
    assert len(list((tmp_path / "runs").iterdir())) == 1
    # What was cut short is not done.
    assert len(run(tmp_path, "seeds=[9]", "run_budget_min=0.02")) == 2
    assert read_records(tmp_path / "study.jsonl")[-1]["status"] == "failed: run_budget_min is over"


def test_ctrl_c_ends_the_run_under_way_and_the_study(tmp_path: Path, repository: Path) -> None:
    script = "import sys\nfrom launch.cli.main import main\nfrom launch.study import study\n"
    script += f"study.RUN = (sys.executable, '-c', {STAND_IN!r})\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "study", *words(tmp_path, "seeds=[9, 1]")],
        cwd=repository, start_new_session=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/pid")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, output
    assert not left_running(process.pid)
    (record,) = read_records(tmp_path / "study.jsonl")
    assert record["status"] == "stopped: SIGINT" and "stopped: SIGINT" in (tmp_path / "table.md").read_text()


def test_seeds_come_first_and_every_run_has_its_own_overrides(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("seeds: [0, 1]\nsettings: {a: [], b: [algo.utd=1]}\ncommon: [learner.total_frames=9]\n")
    planned = list(studies.trials(studies.read_study([str(grid), "seeds=[4, 5]"])))
    assert [(trial.seed, trial.setting) for trial in planned] == [(4, "a"), (4, "b"), (5, "a"), (5, "b")]
    assert planned[1].command == "task=pick_cube learner.total_frames=9 algo.utd=1"


def test_runs_of_a_study_use_their_whole_budget_unless_told_otherwise() -> None:
    study = studies.read_study(["settings={a: [], b: [learner.stop_at.success=0.9]}", "seeds=[0]"])
    plain, told = (compose_config(studies.run_overrides(trial, study)) for trial in studies.trials(study))
    assert plain.learner.stop_at is None
    assert told.learner.stop_at is not None and told.learner.stop_at.success == 0.9


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("speed=3", "unknown field `speed`"),
        ("budget_min=0", "budget_min must be above 0"),
        ("seeds=[]", "seeds must be one or more"),
        ("settings={a: [algo.utd=none]}", "algo.utd"),
        ("tasks=[juggle]", "task/juggle"),
        ("settings={'a b': []}", "name must be letters"),
    ],
)
def test_an_unsuitable_study_is_refused_by_name_before_it_begins(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        studies.read_study([word])
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_the_picture_shows_mean_and_range_of_the_newest_run_of_each_seed(
    tmp_path: Path, stand_in: None
) -> None:
    record = run(tmp_path)[0]
    better = json.loads(json.dumps(record)) | {"seed": 1}
    better["curves"]["full"][1]["success"] = 1.0
    broken = record | {"seed": 2, "base": None}
    runs = newest_runs([record | {"name": "older"}, record, better, broken])
    assert [len(of_setting) for of_setting in runs.values()] == [2]
    xs, mean, low, high = mean_and_range([curve_of(r, "frames") for r in runs["pick_cube", "default"]])
    assert (xs[0], mean[0], xs[-1]) == (0, 0.4, 7200)
    assert (low[-1], mean[-1], high[-1]) == pytest.approx((0.8, 0.9, 1.0))
    draw(runs, "wall_s", tmp_path / "picture" / "study.png")
    assert (tmp_path / "picture" / "study.png").stat().st_size > 10_000


def test_of_two_evaluations_at_the_same_frames_the_later_counts() -> None:
    points = [
        {"frames": 60, "success": 0.5},
        {"frames": 120, "success": 0.9},
        {"frames": 120, "success": 0.7},
    ]
    xs, ys = curve_of({"base": {"success": 0.4}, "curves": {"full": points}}, "frames")
    assert xs.tolist() == [0, 60, 120] and ys.tolist() == [0.4, 0.5, 0.7]


def test_nothing_measured_is_a_record_of_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path)["frames"] is None and measure(tmp_path)["curves"]["full"] == []
