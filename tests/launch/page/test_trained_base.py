"""The page of a run that trains its base speaks of the base, and shows no figures of a residual."""

from pathlib import Path

import pytest

from launch.show.page.record import Evaluated, Record
from launch.show.page.run_page import run_page

POINT = {"frames": 100, "t_s": 1.0, "loss/base": 0.1, "base_lr": 1e-4, "successes": 12, "rounds": 1}


@pytest.mark.parametrize("kind", ["sft", "rejection_sampling"])
def test_it_speaks_of_the_base_alone(kind: str, tmp_path: Path) -> None:
    record = Record(
        tmp_path / "tuned",
        settings={"algo": {"kind": kind, "name": kind}},
        points=[POINT],
        evaluations=[Evaluated("full", 0.5, 100, 100.0, 1.0, 10, 3)],
    )
    page = run_page(record, [])
    charts = {chart.id: chart for chart in page.charts}
    assert {"success", "behaviour", "losses", "rate", "successes", "speed"} <= charts.keys()
    assert not {"q", "residual"} & charts.keys()
    assert [tile.label for tile in page.tiles][:2] == ["base alone", "trained base"]
    said = " ".join([chart.note + str(chart.data) for chart in page.charts] + [str(page.tiles)])
    assert "residual" not in said and "trained base (95 % interval)" in said


def test_a_run_with_a_residual_shows_it(tmp_path: Path) -> None:
    page = run_page(Record(tmp_path / "pick", settings={"algo": {"kind": "residual"}}), [])
    assert {"q", "residual"} <= {chart.id for chart in page.charts}
    assert page.tiles[1].label == "base + residual"
