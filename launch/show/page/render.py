"""From what a page consists of to HTML, and to the JSON that a live page asks for.

Names of runs, tasks and hosts come from outside. Jinja escapes what the templates show, the script shows the
episodes as text, and the browser runs no script without the page's nonce.
"""

import functools
import json
import secrets
from dataclasses import asdict
from typing import Any

import jinja2

from launch.show.page.model import Episodes, Page


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("launch.show.page", "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


def page_html(page: Page, episodes: Episodes | None, *, live: bool = False) -> str:
    """A whole page, which needs no other file and no network.

    Args:
        episodes: None: the page has no such table.
        live: it asks the server that it comes from for fresh figures.
    """
    from plotly.offline import get_plotlyjs

    data = page_data(page) | {"live": live, "episodes": None if episodes is None else episodes_data(episodes)}
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            has_episodes=episodes is not None,
            nonce=secrets.token_hex(16),
            plotly=get_plotlyjs(),
            data=_json(data).replace("<", "\\u003c"),
        )
    )


def page_data(page: Page) -> dict[str, Any]:
    """What changes while a run goes on: two pieces of HTML, and the charts."""
    parts: Any = _environment().get_template("parts.html").make_module({"page": page})  # has its macros
    return {
        "top": str(parts.top()),
        "bottom": str(parts.bottom()),
        "charts": [asdict(chart) for chart in page.charts],
    }


def episodes_data(episodes: Episodes) -> dict[str, Any]:
    return asdict(episodes)


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)
