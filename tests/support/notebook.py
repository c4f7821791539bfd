"""docs/how-to/notebook.ipynb, executed.

python -m tests.support.notebook: executes it and writes its outputs.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from launch.run.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "how-to" / "notebook.ipynb"
PORTS = ("6588", "6589")


def executed(folder: Path) -> Any:
    """The notebook after all its cells have run in `folder`, at other ports than it says.
    Raises nbclient's CellExecutionError."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(NOTEBOOK, as_version=4)
    sources = [cell.source for cell in content.cells]
    for port, free in zip(PORTS, free_ports(), strict=True):
        for cell in content.cells:
            cell.source = cell.source.replace(port, str(free))
    # Times would differ each time that it is executed.
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(content, timeout=900, record_timing=False, resources=place)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    client.execute(env=os.environ | {"PYTHONPATH": path})
    for cell, source in zip(content.cells, sources, strict=True):
        cell.source = source
    for cell in code_cells(content):  # warnings of libraries name places of this machine
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return content


def code_cells(content: Any) -> list[Any]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


if __name__ == "__main__":
    import nbformat

    with tempfile.TemporaryDirectory() as place:
        nbformat.write(executed(Path(place)), NOTEBOOK)
