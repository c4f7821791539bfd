"""The last lines of each process of a run, and the warnings among them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# The end of a file that is read: more lines than a screen shows.
TAIL_BYTES = 1 << 14
# Of a study: the lines of all processes once more.
_OTHERS = ("run",)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_WARNING = re.compile(r"^(?:\d\d:\d\d:\d\d )?(?:warning|error): ")
_ADDRESS = re.compile(r"^(http://\S+) shows ")
_ORDER = ("launch", "learner", "actor", "evaluator")


def read_logs(folder: Path) -> dict[str, tuple[str, ...]]:
    """Process -> its last lines, none empty: the launcher, the learner, its actors, the evaluator."""
    paths = [path for path in folder.glob("*.log") if path.stem not in _OTHERS]
    logs = {path.stem: _last_lines(path) for path in sorted(paths, key=_place)}
    return {name: lines for name, lines in logs.items() if lines}


def warnings_in(logs: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines that report a warning or an error, each once, newest last for each process."""
    found = (f"{name}: {line}" for name, lines in logs.items() for line in lines if _WARNING.match(line))
    return list(dict.fromkeys(found))


def page_address(logs: Mapping[str, Sequence[str]]) -> str | None:
    """Where the run's page is, as its process said; None where it has not."""
    found = (match[1] for line in reversed(logs.get("page", ())) if (match := _ADDRESS.match(line)))
    return next(found, None)


def plain(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else " " for c in _ESCAPE.sub("", text)).rstrip()


def _last_lines(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        data = file.read().decode(errors="replace")
    lines = data.splitlines()[1 if size > TAIL_BYTES else 0 :]
    return tuple(filter(None, map(plain, lines)))


def _place(path: Path) -> tuple[int, int, str]:
    role, _, number = path.stem.partition("-")
    place = _ORDER.index(role) if role in _ORDER else len(_ORDER)
    return place, int(number) if number.isdecimal() else 0, path.stem
