"""report.html in a real browser: it draws, sorts, filters, and runs nothing that came from outside."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.show.page.report import write_report
from tests.support.browser import Browser
from tests.support.run_folder import make_run, write_metadata

ROWS = "[...document.querySelectorAll('#rows tr')].map(row => row.cells[{column}].textContent)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with ten thousand episodes."""
    run_dir = make_run(tmp_path_factory.mktemp("runs") / "many")
    shutil.rmtree(run_dir / "replay")
    write_metadata(run_dir / "replay", 10_000, ["a", "b"])
    return write_report(run_dir)


def column(browser: Browser, number: int) -> list[str]:
    return browser.ask(ROWS.format(column=number))


def test_it_opens_without_a_complaint_and_its_charts_have_their_points(browser: Browser, many: Path) -> None:
    drawn = "page.charts.every(chart => byId('chart-' + chart.id).data)"
    browser.open(many.as_uri())  # what a browser does once in its life is not the page's
    browser.wait_until(drawn)
    begin_s = browser.processor_s()
    browser.open(many.as_uri())
    # Not by the clock, which other processes of a busy machine disturb.
    assert browser.processor_s() - begin_s < 3
    browser.wait_until(drawn)
    assert browser.complaints() == []
    charts = json.loads(browser.ask("JSON.stringify(page.charts)"))
    for chart in charts:
        drawn = browser.ask(f"byId('chart-{chart['id']}').data.map(trace => trace.x)")
        assert drawn == [trace["x"] for trace in chart["data"]]
        assert browser.ask(f"document.querySelectorAll('#chart-{chart['id']} .main-svg').length") > 0


def test_the_switch_shows_minutes(browser: Browser, many: Path) -> None:
    browser.open(many.as_uri())
    browser.ask("document.querySelector('input[value=minutes]').click()")
    browser.wait_until("byId('chart-success').layout.xaxis.title.text === 'minutes'")
    [expected, *_] = browser.ask("page.charts[0].minutes.map(trace => trace.x)")
    assert browser.ask("byId('chart-success').data[0].x") == expected


def test_a_click_on_a_heading_sorts_and_a_second_one_the_other_way_round(
    browser: Browser, many: Path
) -> None:
    browser.open(many.as_uri())
    lengths = browser.ask("page.episodes.columns.frames")
    for order in (sorted(lengths), sorted(lengths, reverse=True)):
        browser.ask("document.querySelector('th[data-key=frames]').click()")
        assert [int(text) for text in column(browser, 2)] == order[:50]


def test_filters_leave_what_they_say(browser: Browser, many: Path) -> None:
    browser.open(many.as_uri())
    columns = browser.ask("page.episodes.columns")
    for selector, value in (
        ("[data-filter=success]", "no"), ("[data-filter=actor]", "b"),
        ("[data-least=frames]", "90"), ("[data-most=version]", "1000"),
    ):  # fmt: skip
        browser.ask(
            f"(input => {{ input.value = '{value}'; input.dispatchEvent(new Event('input')); }})"
            f"(document.querySelector('{selector}'))"
        )
    rows = zip(*(columns[key] for key in ("episode", "success", "actor", "frames", "version")), strict=True)
    kept = [row[0] for row in rows if row[1] is False and row[2] == "b" and row[3] >= 90 and row[4] <= 1000]
    shown = browser.ask("byId('shown').textContent")
    assert shown == f"1 to 50 of {len(kept)}, 10000 in all"
    assert [int(text) for text in column(browser, 0)] == kept[:50]
    browser.ask("byId('after').click()")
    assert [int(text) for text in column(browser, 0)] == kept[50:100]


def test_an_episode_has_its_command_and_its_film(browser: Browser, tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "runs/one")
    (run_dir / "videos").mkdir()
    (run_dir / "videos/episode-2.mp4").touch()
    browser.open(write_report(run_dir).as_uri())
    assert column(browser, 6)[:2] == [f"residual-rl viz {run_dir} 0", f"residual-rl viz {run_dir} 1"]
    links = "[...document.querySelectorAll('#rows a')].map(link => link.href)"
    assert browser.ask(links) == [(run_dir / "videos/episode-2.mp4").as_uri()]


def test_names_from_outside_are_not_run(browser: Browser, tmp_path: Path) -> None:
    evil = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
    run_dir = make_run(tmp_path / "runs/one")
    run_dir = run_dir.rename(run_dir.parent / evil.replace("/", "_"))
    (run_dir / "status.json").write_text(json.dumps({"actors": [{"name": evil, "host": evil}]}))
    origin = run_dir / "replay/meta/residual_rl.json"
    origin.write_text(origin.read_text().replace("actor-0", evil.replace('"', "'")))
    browser.open(write_report(run_dir).as_uri())
    browser.wait_until("byId('chart-waits').data")
    assert browser.complaints() == []
    assert browser.ask("window.ran") is None
    assert column(browser, 5)[0] == evil
    assert browser.ask("document.querySelectorAll('img').length") == 0
