"""report.html: its figures are those of metrics.jsonl and the replay; what is missing is said."""

import json
import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest

from launch.run.folder import MetricsReader
from launch.show.page.charts import MOST_POINTS, run_charts, waits
from launch.show.page.record import Record, RecordReader
from launch.show.page.report import keep_report, write_report
from launch.show.page.run_page import changed_of, run_page
from learner.intervals import wilson_interval
from learner.replay.tools.outcomes import read_outcomes
from tests.support.ordinary_user import ordinary_user
from tests.support.program import residual_rl
from tests.support.run_folder import (
    evaluation_point,
    finish,
    make_run,
    training_point,
    write_metadata,
    write_points,
)
from tests.support.runs import wait_for


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is over, not to be changed."""
    run_dir = make_run(tmp_path_factory.mktemp("runs") / "one", "seed=3", "learner.total_frames=50000")
    (run_dir / "videos").mkdir()
    (run_dir / "videos/episode-3 & more.mp4").touch()
    finish(run_dir)
    return run_dir


@pytest.fixture
def run_dir(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs/one"))


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', path.read_text(), re.S)
    assert found
    return json.loads(found[1])


def text_of(path: Path) -> str:
    """What is outside of scripts and styles."""
    return re.sub(r"<(script|style).*?</\1>", "", path.read_text(), flags=re.S).replace("\xa0", " ")


def tiles(path: Path) -> dict[str, tuple[str, str]]:
    pattern = r'"label">([^<]*)</div><div class="value">([^<]*)</div>\s*<div class="detail">([^<]*)</div>'
    return {label: (value, detail) for label, value, detail in re.findall(pattern, text_of(path))}


def test_a_run_that_collects_says_how_far_it_is_and_nothing_of_evaluations(tmp_path: Path) -> None:
    point = {"frames": 900, "t_s": 60.0, "updates": 0, "episodes": 14}
    goal = {"goal_unit": "successes", "goal_done": 12, "goal_wanted": 50}
    shown = {
        tile.label: (tile.value, tile.detail)
        for tile in run_page(Record(tmp_path, points=[point | goal]), []).tiles
    }
    assert shown["successes"] == ("12", "the run ends after 50") and shown["frames"] == ("900", "")
    assert shown["episodes"][0] == "14" and "base alone" not in shown


def test_the_page_of_a_run_that_collects_shows_its_episodes_and_nothing_of_training(tmp_path: Path) -> None:
    points = [{"frames": 900, "t_s": 60.0, "episodes_played": 14, "successes": 12, "frames_per_s": 15.0}]
    page = run_page(Record(tmp_path, settings={"algo": {"kind": "collect"}}, points=points), [])
    assert [chart.id for chart in page.charts] == ["collected", "speed", "waits"]
    assert not any("best weights" in what for what, _ in page.commands)


def test_the_large_figures_are_those_of_the_metrics(made: Path, tmp_path: Path) -> None:
    shown = tiles(write_report(made, tmp_path / "x.html"))
    points = MetricsReader(made).read()
    training = [point for point in points if "eval_version" not in point][-1]
    for label, key in (("base alone", "success_base"), ("base + residual", "success_full")):
        newest = [point for point in points if key in point][-1]
        low, high = wilson_interval(newest[key], newest["eval_episodes"])
        value, detail = shown[label]
        assert float(value.removesuffix(" %")) == pytest.approx(100 * newest[key], abs=0.05)
        said = re.fullmatch(r"([\d.]+) % to ([\d.]+) % \(95 % interval\), (\d+) episodes.*", detail)
        assert said and [float(said[1]), float(said[2])] == pytest.approx([100 * low, 100 * high], abs=0.06)
        assert int(said[3]) == newest["eval_episodes"]
    assert shown["frames"] == (f"{training['frames']:,}", "training ends after 50,000")
    assert shown["minutes"][0] == f"{json.loads((made / 'summary.json').read_text())['wall_s'] / 60:.1f}"
    assert shown["updates"][0] == f"{training['updates']:,}"
    assert shown["episodes"][0] == f"{training['episodes']:,}"


def test_every_line_of_every_chart_is_that_of_the_metrics(made: Path, tmp_path: Path) -> None:
    charts = {chart["id"]: chart for chart in data_of(write_report(made, tmp_path / "x.html"))["charts"]}
    training = [point for point in MetricsReader(made).read() if "eval_version" not in point]
    lines = {
        "behaviour": {"success": "success_behaviour", "residual acts": "mask_probability"},
        "losses": {"actor": "loss/actor", "critic": "loss/critic"},
        "q": {"expected (Q)": "q_mean", "target": "target_mean", "earned": "return_earned"},
        "residual": {"size": "residual_size", "share at the bound": "residual_at_bound"},
        "lag": {"versions": "policy_lag", "seconds": "policy_lag_s"},
        "speed": {"frames/s": "frames_per_s", "updates/s": "updates_per_s"},
    }
    for name, keys in lines.items():
        drawn = {
            trace["name"]: (trace, x)
            for trace, x in zip(charts[name]["data"], charts[name]["minutes"], strict=True)
        }
        assert drawn.keys() == keys.keys()
        for label, key in keys.items():
            trace, minutes = drawn[label]
            assert trace["x"] == [point["frames"] for point in training]
            assert trace["y"] == pytest.approx([point[key] for point in training], rel=1e-5)
            assert minutes["x"] == pytest.approx([point["t_s"] / 60 for point in training], abs=1e-3)


def test_evaluations_are_drawn_with_their_intervals_and_the_base_as_a_band(
    made: Path, tmp_path: Path
) -> None:
    chart = data_of(write_report(made, tmp_path / "x.html"))["charts"][0]
    full = [point for point in MetricsReader(made).read() if "success_full" in point]
    drawn = next(trace for trace in chart["data"] if trace["name"].startswith("base + residual"))
    assert (drawn["x"], drawn["y"]) == ([p["frames"] for p in full], [p["success_full"] for p in full])
    for point, up, down in zip(full, drawn["error_y"]["array"], drawn["error_y"]["arrayminus"], strict=True):
        rate = point["success_full"]
        assert (rate - down, rate + up) == pytest.approx(wilson_interval(rate, point["eval_episodes"]))
    [band] = chart["layout"]["shapes"]
    assert (band["y0"], band["y1"]) == wilson_interval(0.42, 100)


def test_the_charts_are_figures_that_plotly_accepts(made: Path) -> None:
    charts = run_charts(RecordReader(made).read())
    assert charts
    for chart in charts:
        plotly.graph_objects.Figure({"data": list(chart.data), "layout": chart.layout})


def test_the_episodes_are_those_of_the_replay(made: Path, tmp_path: Path) -> None:
    shown = data_of(write_report(made, tmp_path / "x.html"))["episodes"]
    outcomes = read_outcomes(made / "replay")
    columns = shown["columns"]
    assert columns["episode"] == [each.episode for each in outcomes] == list(range(8))
    assert columns["frames"] == [6, 3, 5, 9, 4, 7, 2, 8]
    assert columns["success"] == [each.success for each in outcomes]
    assert columns["return"] == pytest.approx([each.total_reward for each in outcomes], rel=1e-5)
    assert columns["version"] == [each.version for each in outcomes]
    assert columns["actor"] == ["actor-0"] * 5 + ["actor-1"] * 3
    assert shown["films"] == {"3": "episode-3 & more.mp4"}
    assert shown["command"] == f"residual-rl viz {made}"


def test_settings_machine_actors_films_and_commands_are_shown(made: Path, tmp_path: Path) -> None:
    text = text_of(write_report(made, tmp_path / "x.html"))
    for cells in (
        ("learner.total_frames", "50000", "360000"), ("seed", "3", "0"), ("commit", "0123abc"),
        ("packages torch", "2.10.0"), ("actor-1", "127.0.0.1", "6", "20,000"),
    ):  # fmt: skip
        assert "".join(f"<td>{cell}</td>" for cell in cells) in text
    assert 'src="videos/episode-3%20%26%20more.mp4"' in text
    assert "git checkout 0123abc" in text and "seed=3 learner.total_frames=50000" in text


def test_a_page_needs_no_other_file_and_no_network(made: Path, tmp_path: Path) -> None:
    text = text_of(write_report(made, tmp_path / "x.html"))
    assert not re.findall(r'(?:src|href)="(?!videos/|data:)', text)


def test_what_the_learner_waited_for_is_counted() -> None:
    said = ["3 of 9 decisions", "7 of 9 decisions", "", "first experience, 2 actors connected"]
    assert waits([{"waiting_for": text} for text in said]) == {
        "decisions": 0.5, "nothing (it receives and learns)": 0.25, "first experience": 0.25,
    }  # fmt: skip


def test_long_runs_are_thinned_and_keep_their_newest_point(tmp_path: Path) -> None:
    write_points(tmp_path, [training_point(frames) for frames in range(5000)])
    x = next(chart for chart in run_charts(RecordReader(tmp_path).read()) if chart.id == "q").data[0]["x"]
    assert len(x) <= MOST_POINTS and x[-1] == 4999


def test_names_from_outside_are_shown_and_not_run(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run_dir = make_run(tmp_path / "runs/one")
    run_dir = run_dir.rename(run_dir.parent / evil.replace("/", "&"))
    status = {"actors": [{"name": evil, "host": f"<img src=x onerror={evil}>", "alive": True}], "t_unix": 1}
    (run_dir / "status.json").write_text(json.dumps(status))
    (run_dir / "machine.json").write_text(json.dumps({"host": evil, "commit": evil}))
    settings = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(settings.replace("env_id: PickCube-v1", f"env_id: {evil}"))
    origin = run_dir / "replay/meta/residual_rl.json"
    origin.write_text(origin.read_text().replace("actor-0", "</script><script>alert(2)"))
    write_points(run_dir, [training_point(0, **{"waiting_for": evil, f"loss/{evil}": 1.0})], resume=True)
    path = write_report(run_dir)
    html = path.read_text()
    assert evil not in html and "<script>alert" not in html and "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert len(re.findall(r"<script nonce=", html)) == 2, "a nonce is for the page's own scripts"
    assert data_of(path)["episodes"]["columns"]["actor"][0] == "</script><script>alert(2)"


def report_problems(run_dir: Path) -> str:
    return " ".join(re.findall(r'<p class="problem">([^<]*)</p>', text_of(write_report(run_dir))))


def test_an_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    said = report_problems(tmp_path)
    for words in ("metrics.jsonl is missing", "no evaluation yet", "config.yaml is missing"):
        assert words in said
    assert "has no episode yet" in data_of(tmp_path / "report.html")["episodes"]["note"]
    assert "machine.json is missing" in text_of(tmp_path / "report.html")


def test_a_run_without_an_evaluation_says_so(run_dir: Path) -> None:
    write_points(run_dir, [training_point(frames) for frames in (0, 1000)])
    assert "no evaluation yet: success is not known" in report_problems(run_dir)
    assert tiles(run_dir / "report.html")["base alone"][0] == "not measured"
    assert tiles(run_dir / "report.html")["frames"][0] == "1,000"


def test_the_minutes_of_a_run_that_goes_on_are_those_of_its_newest_point(run_dir: Path) -> None:
    (run_dir / "summary.json").unlink()
    write_report(run_dir)
    assert tiles(run_dir / "report.html")["minutes"][0] == "13.0"


def test_a_torn_line_waits_and_a_damaged_one_is_left_out(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 1, \n[3]\n\n{"frames": 99')
    assert "damaged lines, which are left out: 2" in report_problems(run_dir)
    assert tiles(run_dir / "report.html")["frames"][0] == "39,000"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null", '["a"]', "true", "1e999"])
def test_what_is_no_number_is_not_drawn(value: str, run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write(f'{{"frames": 41000, "t_s": {value}, "q_mean": {value}, "success_full": {value}}}\n')
    write_report(run_dir)
    q = next(c for c in data_of(run_dir / "report.html")["charts"] if c["id"] == "q")["data"][0]
    assert q["x"][-1] == 39_000


@pytest.mark.parametrize("name", ["status.json", "machine.json", "summary.json", "config.yaml"])
def test_a_half_written_file_is_named(name: str, run_dir: Path) -> None:
    path = run_dir / name
    path.write_text(path.read_text()[:30])
    if name == "config.yaml":
        (run_dir / "launch.yaml").unlink()
    assert name in report_problems(run_dir)


def test_a_file_that_may_not_be_read_and_a_folder_that_is_gone_are_named(run_dir: Path) -> None:
    reader = RecordReader(run_dir)
    (run_dir / "metrics.jsonl").chmod(0)
    with ordinary_user():
        assert "metrics.jsonl cannot be read: Permission denied" in reader.read().problems
    shutil.rmtree(run_dir)
    assert f"the folder {run_dir} is gone" in reader.read().problems


def test_a_damaged_replay_is_named_beside_everything_else(run_dir: Path) -> None:
    for path in run_dir.glob("replay/meta/episodes/*/*.parquet"):
        path.write_bytes(path.read_bytes()[:100])
    write_report(run_dir)
    assert "replay verify" in data_of(run_dir / "report.html")["episodes"]["note"]
    assert tiles(run_dir / "report.html")["frames"][0] == "39,000"


def test_a_run_of_the_release_before_has_a_page(tmp_path: Path) -> None:
    old = Path(shutil.copytree("tests/data/run_of_the_release_before", tmp_path / "old"))
    shutil.copytree("tests/data/replay_of_the_release_before", old / "replay")
    write_report(old)
    assert "no such key here" in text_of(old / "report.html")
    assert data_of(old / "report.html")["episodes"]["columns"]["episode"]


def test_a_summary_of_before_the_newest_points_does_not_end_a_run(run_dir: Path) -> None:
    assert RecordReader(run_dir).read().is_over
    later = time.time() + 60
    os.utime(run_dir / "metrics.jsonl", (later, later))
    assert not RecordReader(run_dir).read().is_over


def test_the_report_is_kept_until_the_run_ends(run_dir: Path) -> None:
    """In a folder with the summary of an earlier end."""
    report, stop = run_dir / "report.html", threading.Event()
    keeper = threading.Thread(target=keep_report, args=(run_dir, stop))
    keeper.start()
    wait_for(report.exists)
    before = report.stat().st_mtime_ns
    write_points(run_dir, [training_point(41_000), evaluation_point("full", 41_000, 0.97)], resume=True)
    wait_for(lambda: report.stat().st_mtime_ns != before)
    assert tiles(report)["base + residual"][0] == "97 %" and keeper.is_alive()
    finish(run_dir)
    keeper.join(60)
    assert not keeper.is_alive() and not (run_dir / "report.html.new").exists()


def test_a_report_that_cannot_be_written_is_said_and_ends_nothing(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run_dir / "report.html.new").mkdir()
    keeper = threading.Thread(target=keep_report, args=(run_dir, stop := threading.Event()))
    keeper.start()
    wait_for(lambda: caplog.messages)
    assert keeper.is_alive()
    stop.set()
    keeper.join(60)
    assert caplog.messages == [f"{run_dir}/report.html cannot be written: Is a directory"]


def test_a_reader_sees_what_is_new_and_a_run_that_began_again(run_dir: Path) -> None:
    reader = RecordReader(run_dir)
    before = reader.read()
    write_points(run_dir, [training_point(41_000), evaluation_point("full", 40_000, 1.0)], resume=True)
    after = reader.read()
    assert len(after.points) == len(before.points) + 1 and after.full[-1].rate == 1.0
    write_points(run_dir, [training_point(0)])
    assert (len(reader.read().points), reader.read().evaluations) == (1, ())


def test_the_verb_writes_where_it_is_told_and_refuses_in_one_line(
    run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_dir.parent.parent)
    assert residual_rl("report", "one") == 0
    assert capsys.readouterr().out == "wrote runs/one/report.html\n"
    assert data_of(run_dir / "report.html")["episodes"]["command"] == "residual-rl viz one"
    assert residual_rl("report", "one", "--out", "/proc/none/x.html") == 2
    assert residual_rl("report", "nobody") == 2
    for line in capsys.readouterr().err.splitlines():
        assert re.match(r"error: (/proc|no run runs/nobody: name a folder)", line)


def test_ten_thousand_episodes_are_a_small_file_written_quickly(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "runs/many")
    shutil.rmtree(run_dir / "replay")
    rows = write_metadata(run_dir / "replay", 10_000, ["a", "b"])
    begin_s = time.monotonic()
    path = write_report(run_dir)
    assert time.monotonic() - begin_s < 10 and path.stat().st_size < 8e6
    columns = data_of(path)["episodes"]["columns"]
    assert columns["frames"] == [row["length"] for row in rows]
    assert columns["success"] == [row["stats/next.success/max"][0] > 0 for row in rows]


def test_the_page_names_nothing_of_settings_it_cannot_read(tmp_path: Path) -> None:
    odd = "learner: 3\ntask: [1]\nalgo: {name: 4}\nseed: 2020-01-01\n1: 2\nwire: {a: b}\n"
    (tmp_path / "config.yaml").write_text(odd)
    record = RecordReader(tmp_path).read()
    assert run_page(record, changed_of(record)).title == tmp_path.name
