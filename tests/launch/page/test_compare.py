"""Several runs on one page: every figure is that of their metrics."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest
import scipy.stats

from launch.run.folder import MetricsReader
from launch.show.page.comparison import BY_SETTINGS, comparison_page, labels_of
from launch.show.page.record import Record, RecordReader
from tests.support.program import residual_rl
from tests.support.run_folder import evaluation_point, make_run, training_point

RATES = {"a-0": [0.4, 0.6, 0.96], "a-1": [0.4, 0.8, 0.8], "b-0": [0.5, 0.5, 0.7]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one setting, and one of another; not to be changed."""
    runs = tmp_path_factory.mktemp("runs")
    for name, rates in RATES.items():
        last = 30_000 if name == "a-1" else 40_000
        points = [training_point(frames) for frames in range(0, last, 5000)]
        points.append(evaluation_point("base", 0, 0.4, 100))
        points += [
            evaluation_point("full", round(frames), rate)
            for frames, rate in zip(np.linspace(0, last, 3), rates, strict=True)
        ]
        words = ["algo.gamma=0.9", "task=stack_cube"] if name == "b-0" else []
        make_run(runs / name, f"seed={name[-1]}", *words, points=points)
    return runs


@pytest.fixture(scope="module")
def runs(made: Path) -> dict[str, Record]:
    return {name: RecordReader(made / name).read() for name in RATES}


def table(page: Any, title: str) -> list[list[str]]:
    return [list(row) for table in page.tables if table.title == title for row in table.rows]


def test_frames_and_minutes_to_a_level_are_those_of_the_first_evaluation_that_reached_it(
    made: Path, runs: dict[str, Record]
) -> None:
    rows = table(comparison_page(runs, None), "How fast")
    assert [row[0] for row in rows] == list(RATES)
    for name, base, newest, *reached in rows:
        points = MetricsReader(made / name).read()
        full = [point for point in points if point.get("success_full") is not None]
        assert (base, newest) == ("40 %", f"{100 * full[-1]['success_full']:g} %")
        for level, shown in zip((0.5, 0.75, 0.9, 0.95), reached, strict=True):
            first = [p for p in full if p["success_full"] >= level and p["updates"] > 0][:1]
            said = [f"{p['frames']:,} frames, {p['t_s'] / 60:.1f} min" for p in first]
            assert shown == (said[0] if said else "not reached")


def test_the_mean_of_a_group_has_students_interval_over_its_runs(runs: dict[str, Record]) -> None:
    page = comparison_page(runs, BY_SETTINGS)
    [low, high, mean] = [t for t in page.charts[0].data if len(t["x"]) == 200]
    assert mean["x"][-1] == 30_000, "as far as all runs go"
    # At 15,000 frames: of a-0 a straight line from 0.4 at 0 to 0.6 at 20,000; a-1 was evaluated there.
    at = int(np.argmin(np.abs(np.array(mean["x"]) - 15_000)))
    values = [np.interp(mean["x"][at], [0, 20_000, 40_000], [0.4, 0.6, 0.96]),
              np.interp(mean["x"][at], [0, 15_000, 30_000], [0.4, 0.8, 0.8])]  # fmt: skip
    interval = scipy.stats.t.interval(0.95, 1, np.mean(values), scipy.stats.sem(values))
    assert mean["y"][at] == pytest.approx(np.mean(values))
    assert (low["y"][at], high["y"][at]) == pytest.approx(np.clip(interval, 0, 1))


def test_runs_that_differ_in_their_seed_alone_are_one_group(runs: dict[str, Record]) -> None:
    page = comparison_page(runs, BY_SETTINGS)
    assert [tile.label for tile in page.tiles] == [
        "task=pick_cube, algo.gamma=0.99", "task=stack_cube, algo.gamma=0.9",
    ]  # fmt: skip
    assert page.tiles[0].value == "88 %" and page.tiles[0].detail.endswith("2 runs")
    means = [row for row in table(page, "How fast") if row[0].startswith("mean: ")]
    assert means == [
        ["mean: task=pick_cube, algo.gamma=0.99", "40 %", "88 %", "17,500 frames, 5.8 min (2 of 2)",
         "27,500 frames, 9.2 min (2 of 2)", *["40,000 frames, 13.3 min (1 of 2)"] * 2]
    ]  # fmt: skip


def test_groups_may_be_those_of_a_key(runs: dict[str, Record]) -> None:
    labels = [tile.label for tile in comparison_page(runs, "seed").tiles]
    assert labels == ["seed=0", "seed=1"]


def test_settings_in_which_they_differ_are_listed(runs: dict[str, Record]) -> None:
    assert table(comparison_page(runs, None), "Settings in which they differ") == [
        ["seed", "0", "1", "0"],
        ["task", "pick_cube", "pick_cube", "stack_cube"],
        ["algo.gamma", "0.99", "0.99", "0.9"],
    ]


def test_the_charts_are_figures_that_plotly_accepts(runs: dict[str, Record]) -> None:
    for chart in comparison_page(runs, BY_SETTINGS).charts:
        assert chart.minutes is not None
        plotly.graph_objects.Figure({"data": list(chart.data), "layout": chart.layout})
        over_minutes = [{**one, **other} for one, other in zip(chart.data, chart.minutes, strict=True)]
        plotly.graph_objects.Figure({"data": over_minutes, "layout": chart.layout})


def test_two_runs_of_one_name_are_told_apart_and_the_same_one_counts_once(tmp_path: Path) -> None:
    folders = [tmp_path / "x/one", tmp_path / "y/one", tmp_path / "two", tmp_path / "x/../two"]
    assert list(labels_of(folders)) == [str(folders[0]), str(folders[1]), "two"]


def test_runs_without_an_evaluation_or_in_an_empty_folder_are_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    young = make_run(tmp_path / "young", points=[training_point(0)])
    page = comparison_page({p.name: RecordReader(p).read() for p in (tmp_path / "empty", young)}, BY_SETTINGS)
    assert "empty: metrics.jsonl is missing: nothing was measured yet" in page.problems
    assert {row[1] for row in table(page, "How fast")} == {"not measured"}


def test_the_verb_writes_beside_the_first_run_and_refuses_in_one_line(
    made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, two = str(made / "a-0"), str(made / "b-0")
    assert residual_rl("compare", one, two) == 0
    assert residual_rl("compare", one, two, "--by", "settings", "--out", str(tmp_path / "x.html")) == 0
    assert capsys.readouterr().out == f"wrote {made}/compare.html\nwrote {tmp_path}/x.html\n"
    text = (tmp_path / "x.html").read_text()
    assert "algo.gamma" in re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert (
        json.loads(text.partition('id="data"')[2].partition(">")[2].partition("</script>")[0])["episodes"]
        is None
    )
    for words in ([one], [one, one], [one, str(tmp_path / "none")], [one, two, "--by", "algo.nope"]):
        assert residual_rl("compare", *words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_runs_of_different_tasks_are_shown_with_a_word_of_warning(made: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", "task=stack_cube")
    page = comparison_page({p.name: RecordReader(p).read() for p in (made / "a-0", other)}, None)
    [said] = page.problems
    assert said.endswith("the same thing: PickCube-v1, StackCube-v1")
