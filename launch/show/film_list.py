"""videos/index.json: the list of a run's films, and what each shows in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.files import replace_text

FOLDER, INDEX = "videos", "index.json"


def add_to_index(folder: Path, film: dict[str, Any]) -> None:
    """Put a film into the list, in place of one with the same file. Films that are gone leave it."""
    films = [
        each
        for each in read_index(folder)
        if each["file"] != film["file"] and (folder / each["file"]).exists()
    ]
    replace_text(folder / INDEX, json.dumps({"films": [*films, film]}, indent=1) + "\n")


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The films listed; none where the list is missing or damaged."""
    try:
        films = json.loads((folder / INDEX).read_text())["films"]
        return [film for film in films if isinstance(film["file"], str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def caption(film: Mapping[str, Any]) -> str:
    """Seed, and how each policy ended; what the list does not say is left out."""
    panels = film.get("panels")
    said = [f"seed {film['seed']}"] if isinstance(film.get("seed"), int) else []
    said += (
        [_ending(panel) for panel in panels if isinstance(panel, Mapping)] if isinstance(panels, list) else []
    )
    if film.get("as_evaluated") is False:
        said.append("not as it was evaluated")
    return "; ".join(said)


def _ending(panel: Mapping[str, Any]) -> str:
    who = "base" if panel.get("policy") == "base" else f"base + residual v{panel.get('version')}"
    frames = panel.get("frames")
    return (
        f"{who}: success at frame {frames}"
        if panel.get("success")
        else f"{who}: no success in {frames} frames"
    )
