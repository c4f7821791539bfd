"""docs/how-to/notebook.ipynb runs from the first cell to the last, and is kept with its outputs."""

import json
import re
from pathlib import Path

import pytest

from tests.support.notebook import NOTEBOOK, code_cells, executed


def test_the_notebook_is_kept_with_its_outputs_and_no_place_of_a_machine() -> None:
    text = NOTEBOOK.read_text()
    cells = code_cells(json.loads(text))
    assert len(cells) > 4 and all(cell["outputs"] for cell in cells)
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])
    assert "image/png" in text and len(text) < 200_000
    assert re.findall(r"/(?:tmp|root|home|work)/", text) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebook_runs(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    cells = code_cells(executed(tmp_path))
    assert (tmp_path / "runs/notebook/summary.json").is_file()
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
