"""Packages of plugins/, as an editable installation leaves them, and runs whose policies they load."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def install(folder: Path, name: str) -> Path:
    """Make the package `name` of plugins/ importable from `folder`, with its metadata; returns `folder`."""
    source = ROOT / "plugins" / name
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(source / name)
    about = folder / f"{name}-{project['version']}.dist-info"
    about.mkdir()
    described = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (about / "METADATA").write_text(described)
    groups = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())])
        for group, entries in project.get("entry-points", {}).items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups) + "\n")
    return folder
