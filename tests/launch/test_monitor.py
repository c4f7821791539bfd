"""residual-rl monitor: every figure is that of the run's files, and no folder stops it."""

import asyncio
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from launch.run.folder import find_run
from launch.show.monitor import words
from launch.show.monitor.app import LEAST_LINES, AskToStop, Chart, Logs, Monitor
from launch.show.monitor.chart import draw_success
from launch.show.monitor.follower import Follower
from launch.show.monitor.show import follow
from launch.show.monitor.snapshot import Snapshot
from tests.support.program import residual_rl
from tests.support.watched_run import (
    FINISHED,
    add_points,
    finished_run,
    lines,
    newest_point,
    points_of,
    start_launcher,
    unfinished_run,
)

MIDDLE = 20
OLD = FINISHED.with_name("run_of_the_release_before")
NOW = 1_800_000_000.0


@pytest.fixture
def middle(tmp_path: Path) -> Path:
    """The run after some points, and nobody works on it."""
    return unfinished_run(tmp_path / "middle", MIDDLE)


@pytest.fixture
def running(middle: Path, repository: Path) -> Iterator[Path]:
    """The same, with a launcher that has it locked."""
    later = time.time() + 5
    os.utime(middle / "metrics.jsonl", (later, later))
    process = start_launcher(middle, repository)
    yield middle
    process.kill()
    process.communicate()


def wilson(rate: float, trials: int) -> tuple[float, float]:
    """Wilson's interval, written down as in his paper."""
    z = 1.959964
    centre = rate + z**2 / (2 * trials)
    spread = z * math.sqrt((rate * (1 - rate) + z**2 / (4 * trials)) / trials)
    return max(0, (centre - spread) / (1 + z**2 / trials)), min(1, (centre + spread) / (1 + z**2 / trials))


def once(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert residual_rl("monitor", str(run_dir), "--once", "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_that_collects_is_measured_by_its_episodes(
    middle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goal = {"goal_done": 6, "goal_wanted": 8, "goal_unit": "episodes"}
    with (middle / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(newest_point(middle) | goal) + "\n")
    assert once(middle, capsys)["goal"] == {"done": 6, "wanted": 8, "unit": "episodes"}
    assert residual_rl("monitor", str(middle), "--once") == 0
    shown = capsys.readouterr().out
    assert "6 of 8" in shown and "behind" not in shown


def test_every_figure_is_that_of_the_files(middle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, points = once(middle, capsys), points_of(middle)
    training = [point for point in points if "eval_version" not in point]
    for key, value in shown["figures"].items():
        assert value == next(p[key] for p in reversed(training) if p.get(key) is not None), key
    assert {k for p in training for k, v in p.items() if isinstance(v, int | float)} == {*shown["figures"]}
    base = next(point for point in points if "success_base" in point)
    full = [point for point in points if "success_full" in point]
    assert len(full) > 1 and [m["success"] for m in shown["full"]] == [p["success_full"] for p in full]
    assert [m["frames"] for m in shown["full"]] == [p["frames"] for p in full]
    for measured in (shown["base"], *shown["full"]):
        interval = (measured["low"], measured["high"])
        assert interval == pytest.approx(wilson(measured["success"], measured["episodes"]))
    assert shown["base"]["success"] == base["success_base"]
    curve = [[p["frames"], p["success_behaviour"]] for p in training if p["success_behaviour"] is not None]
    assert shown["behaviour"] == curve and len(curve) > 5
    assert (shown["task"], shown["algo"], shown["seed"]) == ("PickCube-v1", "residual_td3", 0)
    assert shown["total_frames"] == 360_000 and shown["state"] == "not running"
    assert shown["logs"]["evaluator"][-1] == (FINISHED / "logs/evaluator.log").read_text().splitlines()[-1]


def test_what_is_left_is_told_at_the_mean_speed(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, last = once(running, capsys), newest_point(running)
    assert shown["state"] == "running"
    assert shown["left_s"] == pytest.approx(last["t_s"] * (360_000 / last["frames"] - 1))
    assert shown["waiting"] in (
        "the learner, for experience",
        f"nobody; {last['updates_due']:,} updates are due",
    )


def test_the_text_has_the_same_figures(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = newest_point(running)
    assert residual_rl("monitor", str(running), "--once") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{last['frames']:,} of 360,000" in text
    assert f"{last['frames_per_s']:.0f} frames/s, {last['updates_per_s']:.1f} updates/s" in text
    assert f"{last['updates']:,} updates" in text and f"v{last['version']}" in text
    assert f"training {100 * last['success_behaviour']:.0f} %" in text
    assert "base 42 % (33 to 52, 100 episodes)" in text


def test_the_end_has_the_final_figures_and_says_where_everything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = finished_run(tmp_path / "whole")
    summary = json.loads((run_dir / "summary.json").read_text())
    assert residual_rl("monitor", str(run_dir)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run whole is over" and max(map(len, lines)) <= 80 + len(str(run_dir))
    text = " ".join(" ".join(lines).split())
    assert f"base success {100 * summary['base_success']:.0f} %" in text
    assert f"final success {100 * summary['final_success']:.0f} %" in text
    assert f"frames {summary['frames']:,}" in text and summary["stopped_early"] in text
    assert f"report {run_dir}/report.html" in text and f"films {run_dir}/videos" in text
    assert summary["best_checkpoint"] in text


def test_the_newest_value_of_every_figure_counts_but_not_what_was_waited_for_earlier(middle: Path) -> None:
    before = Follower(middle).look()
    with (middle / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 123456, "success_behaviour": null, "waiting_for": ""}\n{"frames": 9')
    after = Follower(middle).look()
    assert after.figures == before.figures | {"frames": 123456}
    assert after.behaviour == before.behaviour and after.full == before.full


def test_a_follower_reads_on_from_where_it_was(middle: Path) -> None:
    follower = Follower(middle)
    follower.look()
    add_points(middle, MIDDLE)
    assert follower.look().figures == Follower(middle).look().figures
    assert len(follower.look().full) == sum("success_full" in line for line in lines())


def test_actors_are_those_of_status_json(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actor = {"name": "actor-0", "host": "box", "sub_envs": 6.0, "frames": 1234.0, "frames_per_s": 120.5,
             "lag_versions": 2.5, "last_heard_s": 1.0, "alive": True}  # fmt: skip
    gone = actor | {"name": "lab-3", "alive": False}
    status = {"t_unix": time.time() - 10, "actors": [actor, gone], "waiting_for": "a person"}
    (running / "status.json").write_text(json.dumps(status))
    shown = once(running, capsys)
    assert [a["name"] for a in shown["actors"]] == ["actor-0", "lab-3"]
    assert shown["actors"][0]["last_heard_s"] == pytest.approx(11, abs=5)
    assert shown["waiting"] == "the learner, for a person" and "lab-3 is gone" in shown["warnings"]
    assert residual_rl("monitor", str(running), "--once") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["actor", "host", "sub-envs", "frames/s", "lag", "heard"] in rows
    assert any(row[:5] == ["actor-0", "box", "6", "120", "2.5"] for row in rows)
    assert ["lab-3", "box", "6", "120", "2.5", "gone"] in rows


def test_an_actor_cannot_move_the_cursor(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x1b]0;title\x07<script>[red]name"
    status = {"t_unix": time.time(), "actors": [{"name": evil, "host": evil}]}
    (running / "status.json").write_text(json.dumps(status))
    (running / "logs/actor-0.log").write_text(f"warning: {evil}\n")
    assert residual_rl("monitor", str(running), "--once") == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\x07" not in text and "<script>[red]name" in text


def test_warnings_are_those_of_logs_and_of_figures(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (running / "logs/learner.log").open("a") as file:
        file.write("00:47:48 warning: rejected batch from peg\n00:47:49 nothing to warn of\n")
    with (running / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 200000, "loss/critic": null, "waiting_for": ""}\n')
    long_ago = time.time() - 90
    for name in ("launch.yaml", "config.yaml", "metrics.jsonl"):
        os.utime(running / name, (long_ago, long_ago + (name == "metrics.jsonl")))
    warnings = once(running, capsys)["warnings"]
    assert "learner: 00:47:48 warning: rejected batch from peg" in warnings
    assert "loss/critic is no finite number at 200,000 frames" in warnings
    assert any(text.startswith("the learner has written no figures for 8") for text in warnings)
    assert not any("nothing to warn of" in text for text in warnings)


def test_a_run_that_begins_shows_nothing_but_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "young").mkdir()
    shutil.copy(FINISHED / "launch.yaml", tmp_path / "young")
    assert residual_rl("monitor", str(tmp_path / "young"), "--once") == 0
    assert capsys.readouterr().out.split() == [
        "young",
        "PickCube-v1",
        "residual_td3",
        "seed",
        "0",
        "starting",
    ]


def test_it_says_where_the_runs_page_is_while_there_is_one(
    running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [f"http://127.0.0.1:{port}/ shows {running.name}" for port in (8765, 8766)]
    (running / "logs/page.log").write_text("\n".join([*said, "warning: something else"]) + "\n")
    residual_rl("monitor", str(running), "--once")
    assert "page http://127.0.0.1:8766/" in " ".join(capsys.readouterr().out.split())
    finished_run(running.parent / "over")
    shutil.copy(running / "logs/page.log", running.parent / "over/logs")
    residual_rl("monitor", str(running.parent / "over"), "--once", "--json")
    assert json.loads(capsys.readouterr().out)["page"] is None


def _torn(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"frames": 12')


def _not_json(run_dir: Path) -> None:
    with (run_dir / "metrics.jsonl").open("ab") as file:
        file.write(
            b'{"frames": NaN, "loss/critic": Infinity, "episodes": "many", "updates": [1], "t_s": true}\n'
        )
        file.write(
            b'\xff\xfe\n[1]\n{"frames": 1e999, "version": ' + b"9" * 5000 + b"}\n" + b"[" * 50_000 + b"\n"
        )
        file.write(
            b'{"success_full": 7.5, "eval_version": 1}\n{"success_full": "0.5", "eval_version": null}\n'
        )


def _write(name: str, content: str) -> Callable[[Path], None]:
    return lambda run_dir: (run_dir / name).write_text(content) and None


def _remove(*names: str) -> Callable[[Path], None]:
    return lambda run_dir: [(run_dir / name).unlink() for name in names] and None


def _old(run_dir: Path) -> None:
    shutil.rmtree(run_dir)
    shutil.copytree(OLD, run_dir)


def _never_evaluated(run_dir: Path) -> None:
    points = [line for line in lines()[:MIDDLE] if "eval_version" not in line]
    (run_dir / "metrics.jsonl").write_text("".join(points))


DAMAGES = {
    "torn last line": (_torn, "not running"),
    "lines that are no points": (_not_json, "damaged lines left out: 4"),
    "older release": (_old, "not running"),
    "never evaluated": (_never_evaluated, "training"),
    "no points": (_remove("metrics.jsonl"), "go on"),
    "summary torn": (_write("summary.json", '{"frames": 1'), "summary.json is damaged"),
    "summary of other types": (_write("summary.json", '{"frames": "many"}'), "summary.json is damaged"),
    "summary empty": (_write("summary.json", "{}"), "over"),
    "settings torn": (_write("launch.yaml", "a: [1"), "not running"),
    "settings of other types": (_write("launch.yaml", "seed: x"), "PickCube-v1"),
    "status torn": (_write("status.json", "{"), "not running"),
    "a log that is no text": (_write("logs/learner.log", "\0\x1b[31m\r\n"), "not running"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_folder_shows_what_is_there_and_says_what_is_not(
    kind: str, middle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, says = DAMAGES[kind]
    damage(middle)
    for name in ("launch.yaml", "config.yaml"):
        if (middle / name).exists():
            os.utime(middle / name, (NOW - 1e9, NOW - 1e9))
    assert residual_rl("monitor", str(middle), "--once") == 0
    shown = capsys.readouterr()
    assert shown.err == "" and says in " ".join(shown.out.split())
    assert "nan" not in shown.out and "Traceback" not in shown.out
    if kind in ("lines that are no points", "summary empty"):
        asyncio.run(_shows(middle))


def test_no_settings_at_all_is_one_line(middle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _remove("launch.yaml", "config.yaml")(middle)
    assert residual_rl("monitor", str(middle)) == 2
    assert capsys.readouterr().err == (
        f"error: no run {middle}: it has neither launch.yaml nor config.yaml: name a folder under runs/\n"
    )


def test_two_runs_of_one_name_have_to_be_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("twin", "runs/twin"):
        unfinished_run(tmp_path / place, 3)
    assert residual_rl("monitor", "twin", "--once") == 2
    assert "two runs are named twin: name the folder, runs/twin or ./twin" in capsys.readouterr().err
    assert find_run("./twin") == Path("twin") and find_run("runs/twin") == Path("runs/twin")


def test_without_a_name_it_is_the_run_that_was_started_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert residual_rl("monitor", "--once") == 2
    assert "no run under runs/" in capsys.readouterr().err
    for age, name in enumerate(("newer", "older")):
        run_dir = unfinished_run(tmp_path / "runs" / name, 3)
        for settings in ("launch.yaml", "config.yaml"):
            os.utime(run_dir / settings, (NOW - age, NOW - age))
    assert residual_rl("monitor", "--once") == 0
    assert capsys.readouterr().out.startswith("newer ")
    assert residual_rl("monitor", "--json") == 2


def test_it_writes_nothing_into_the_folder(middle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def state() -> list[tuple[str, float]]:
        return sorted((str(path), path.stat().st_mtime) for path in (middle, *middle.rglob("*")))

    before = state()
    once(middle, capsys)
    asyncio.run(_shows(middle))
    assert state() == before


def test_without_a_terminal_there_is_a_line_for_each_point_until_the_run_ends(
    running: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    follower, looks = Follower(running), iter(range(4))

    def look() -> Snapshot:
        number = next(looks)
        if number == 2:
            add_points(running, MIDDLE, MIDDLE + 2)
        if number == 3:
            shutil.copy(FINISHED / "summary.json", running)
        return follower.look()

    before = newest_point(running)
    follow(look, said.append, every_s=0)
    assert len(said) == 2 and all(line.startswith("middle running; ") for line in said)
    assert f"{before['frames']:,} of 360,000" in said[0]
    assert f"{newest_point(running)['frames']:,} of 360,000" in said[1]


def test_a_run_that_ended_without_a_summary_is_an_error_that_says_how_to_go_on(
    middle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(middle / "launch.yaml", (NOW - 1e9, NOW - 1e9))
    os.utime(middle / "config.yaml", (NOW - 1e9, NOW - 1e9))
    assert residual_rl("monitor", str(middle)) == 1
    error = capsys.readouterr().err
    assert f"residual-rl run name=middle runs_dir={middle.parent} goes on with it" in error


def test_the_chart_has_each_value_in_its_row(middle: Path) -> None:
    snapshot = Follower(middle).look()
    rows = draw_success(snapshot, 66, 11).plain.splitlines()
    assert len(rows) == 11 and {len(row) for row in rows[:-1]} == {66}
    assert [row[:5].strip() for row in rows[:-1]] == ["100 %", *[""] * 4, "42 %", *[""] * 3, "0 %"]
    newest = snapshot.full[-1].success
    bars = sum(row[-1] not in " ─" for row in rows[:-1])
    assert abs(bars - 10 * newest) <= 1.5
    assert rows[-1].rstrip().endswith(f"{snapshot.figures['frames']:,.0f} frames")


async def _shows(run_dir: Path) -> None:
    """Start the monitor and wait until it shows the run."""
    app = Monitor(run_dir)
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(200):
            await pilot.pause(0.02)
            if run_dir.name in str(app.query_one("#title", Static).render()):
                return
        raise AssertionError("never shown")


@pytest.mark.parametrize("size", [(80, 15), (80, 24), (200, 60)])
def test_its_parts_share_the_terminal_without_overlap(size: tuple[int, int], running: Path) -> None:
    app = Monitor(running)

    async def look() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause(0.3)
            names = ("title", "chart", "facts", "logs")[: 3 if size[1] < LEAST_LINES else 4]
            parts = [app.query_one(f"#{name}") for name in names]
            assert app.query_one(Chart).region.height >= 4
            assert bool(app.query_one("#logs").display) == ("logs" in names)
            for part in parts:
                assert part.display and part.region.width >= size[0] // 2 - 6, part.id
            for one, two in zip(parts, parts[1:], strict=False):
                assert not one.region.intersection(two.region).area, (one.id, two.id)
            svg = app.export_screenshot()
            assert "PickCube" in svg and "running" in svg

    asyncio.run(look())


def test_keys_show_the_logs_and_ask_before_the_run_is_stopped(running: Path, repository: Path) -> None:
    app = Monitor(running)

    async def press() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("l")
            await pilot.pause()
            assert isinstance(app.screen, Logs)
            await pilot.press("right", "escape", "s")
            await pilot.pause()
            assert isinstance(app.screen, AskToStop)
            await pilot.press("n")
            await pilot.pause()
            assert not isinstance(app.screen, AskToStop) and Follower(running).look().state == "running"
            await pilot.press("ctrl+c", "y")
            await pilot.pause()
            for _ in range(500):
                if Follower(running).look().state == "not running":
                    break
                await pilot.pause(0.02)
            assert Follower(running).look().state == "not running"
            await pilot.press("s", "y")
            await pilot.pause()
            assert "nothing to stop" in str(app.query_one("#warnings", Static).render())
            await pilot.press("q")

    asyncio.run(press())
    assert app.return_code == 0


def test_log_lines_are_cut_between_words(middle: Path) -> None:
    with (middle / "logs/learner.log").open("a") as log:
        log.writelines(f"{'x' * before} in runs/{'a-' * 12}run\n" for before in range(12, 28, 4))
    snapshot = Follower(middle).look()
    for columns in (40, 80, 200):
        for line in words.logs(snapshot, columns, 8).plain.splitlines():
            name, *shown = line.split()
            whole = [text.split() for text in snapshot.logs[name]]
            shown = shown[:-1] if shown[-1] == "…" else shown
            assert len(line) <= columns and any(text[: len(shown)] == shown for text in whole)
