"""A page of all episodes of a replay: length, return, success, weights version."""

import html
from pathlib import Path

from config.files import replace_text
from learner.replay.tools.outcomes import EpisodeOutcome

_STYLE = """
body { font-family: sans-serif; margin: 2em; }
table { border-collapse: collapse; }
th, td { padding: 0.2em 0.8em; text-align: right; border-bottom: 1px solid #ddd; }
th { cursor: pointer; position: sticky; top: 0; background: white; }
.yes { color: #176f2c; } .no { color: #a32020; }
"""

# A click on a heading sorts by it, a second one the other way round.
_SCRIPT = """
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const body = document.querySelector("tbody"), sign = head.dataset.sign = -(head.dataset.sign || -1);
  const value = row => Number(row.children[column].dataset.value);
  [...body.rows].sort((a, b) => sign * (value(a) - value(b))).forEach(row => body.append(row));
}));
"""


def write_overview(path: Path, title: str, run: str, outcomes: list[EpisodeOutcome]) -> Path:
    """Write the page, which needs no other file and no network; return its path."""
    replace_text(path, page(title, run, outcomes))
    return path


def page(title: str, run: str, outcomes: list[EpisodeOutcome]) -> str:
    known = [outcome for outcome in outcomes if outcome.success is not None]
    rate = f", {100 * sum(bool(o.success) for o in known) / len(known):.1f} % successful" if known else ""
    frames = sum(outcome.frames for outcome in outcomes)
    heads = "".join(f"<th>{name}</th>" for name in ("episode", "frames", "return", "success", "version"))
    rows = "\n".join(map(_row, outcomes))
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>
<body>
<h1>{title}</h1>
<p>{len(outcomes)} episodes, {frames} frames{rate}.
See one: <code>bash launch/viz.sh {html.escape(run)} NUMBER</code></p>
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _row(outcome: EpisodeOutcome) -> str:
    reward = outcome.total_reward
    word = {None: "unknown", True: "yes", False: "no"}[outcome.success]
    cells = [
        (outcome.episode, str(outcome.episode), ""),
        (outcome.frames, str(outcome.frames), ""),
        (reward or 0, "unknown" if reward is None else f"{reward:.3g}", ""),
        (int(bool(outcome.success)), word, word),
        (outcome.version or 0, "unknown" if outcome.version is None else str(outcome.version), ""),
    ]
    inner = "".join(f'<td data-value="{value}" class="{kind}">{text}</td>' for value, text, kind in cells)
    return f"<tr>{inner}</tr>"
