"""What the monitor says, in any width: no word is cut, and figures that are not known are left out."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.table import Table
from rich.text import Text

from launch.run.folder import count, duration, percent, wrapped
from launch.show.monitor.logs import plain
from launch.show.monitor.snapshot import Actor, Goal, Measured, Snapshot

COLLECTED = ("episodes", "successes")
"""What a run that learns nothing counts."""
_STATE_STYLES = {"running": "bold green", "starting": "bold yellow", "over": "bold cyan"}
_BAR_COLUMNS = 10
DETAILS = (
    "mask_probability", "policy_lag_s", "adoption_s", "prior_clipped_share", "residual_size", "rounds",
    "successes", "corrected_frames", "windows",
)  # fmt: skip
_DETAIL_PREFIXES = ("loss/", "q_", "target_", "residual_", "base_")


def title(snapshot: Snapshot, columns: int) -> Text:
    """One line: what the run is, and its state on the right."""
    seed = None if snapshot.seed is None else f"seed {snapshot.seed}"
    words = [word for word in (snapshot.run, snapshot.task, snapshot.algo, seed) if word]
    room = columns - len(snapshot.state) - 1
    while len(words) > 1 and len("  ".join(words)) > room:
        words.pop()
    return Text.assemble(
        (f"{'  '.join(words):<{max(0, room)}}", "bold"), " ",
        (snapshot.state, _STATE_STYLES.get(snapshot.state, "bold red")),
    )  # fmt: skip


def facts(snapshot: Snapshot) -> Table:
    """What is known of the run, a row each; at its end the final figures and where its results are."""
    return _grid(snapshot.summary or dict(_rows(snapshot)))


def details(snapshot: Snapshot) -> Table:
    """Figures for the curious: losses, Q, residual, what a base in training learns from."""
    shown = {k: v for k, v in snapshot.figures.items() if k in DETAILS or k.startswith(_DETAIL_PREFIXES)}
    return _grid({key: f"{value:.4g}" for key, value in shown.items()})


def actors(snapshot: Snapshot, columns: int) -> Table | None:
    """One row an actor; None where the learner has not told of any. Narrow: without the frames so far."""
    if not snapshot.actors:
        return None
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan")
    table.add_column("actor")
    for heading in _ACTOR_COLUMNS[: len(_ACTOR_COLUMNS) if columns >= _WIDE_COLUMNS else -1]:
        table.add_column(heading, justify="left" if heading == "host" else "right")
    for actor in snapshot.actors:
        cells = _cells(actor)[: len(table.columns)]
        table.add_row(*map(Text, cells), style="" if actor.alive else "red")
    return table


def warnings(snapshot: Snapshot, columns: int, lines: int) -> Text:
    """The newest warnings in at most `lines` lines, each broken between words."""
    broken = [wrapped(text, "! ", columns) for text in snapshot.warnings]
    while broken and sum(map(len, broken)) > lines:
        broken.pop(0)
    return Text("\n".join(line for text in broken for line in text), "bold yellow")


def logs(snapshot: Snapshot, columns: int, per_process: int) -> Text:
    """The last lines of each process, one line each: what does not fit goes, by words."""
    width = max((len(name) for name in snapshot.logs), default=0)
    shown = Text()
    for name, lines in snapshot.logs.items():
        for line in lines[-per_process:]:
            prefix = f"{name:<{width}} "
            room = max(1, columns - len(prefix))
            shown.append("\n" if shown else "").append(prefix, "cyan")
            shown.append(_shortened(line, room))
    return shown


def _shortened(line: str, room: int) -> str:
    return textwrap.shorten(line, room, placeholder=" …", break_long_words=False, break_on_hyphens=False)


def go_on(snapshot: Snapshot) -> str:
    """The command that goes on with a run that was stopped."""
    folder = Path(snapshot.folder).parent
    return f"residual-rl run name={snapshot.run}" + ("" if folder == Path("runs") else f" runs_dir={folder}")


def one_line(snapshot: Snapshot) -> str:
    """The run in one line, for an output that is no terminal."""
    rows = dict(_rows(snapshot))
    goal = "frames" if snapshot.goal is None else snapshot.goal.unit
    words = [rows[key] for key in dict.fromkeys((goal, "success", "speed")) if key in rows]
    waiting = [f"waiting: {rows['waiting']}"] if "waiting" in rows else []
    return "; ".join([f"{snapshot.run} {snapshot.state}", *words, *waiting])


_ACTOR_COLUMNS = ("host", "sub-envs", "frames/s", "lag", "heard", "frames")
_WIDE_COLUMNS = 90


def _cells(actor: Actor) -> tuple[str, ...]:
    heard = "gone" if not actor.alive else _with(actor.last_heard_s, "{:.0f} s ago")
    return (
        plain(actor.name), plain(actor.host or "-"), _with(actor.sub_envs, "{:.0f}"),
        _with(actor.frames_per_s, "{:.0f}"), _with(actor.lag_versions, "{:.1f}"), heard,
        _with(actor.frames, "{:,.0f}"),
    )  # fmt: skip


def _rows(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """(label, text) of everything that was measured."""
    figures, goal = snapshot.figures, snapshot.goal
    learns = goal is None or goal.unit not in COLLECTED
    if frames := figures.get("frames"):
        if goal is None or goal.unit == "frames":
            yield "frames", "; ".join(filter(None, (_progress(frames, goal), _time(snapshot))))
        else:
            yield goal.unit, "; ".join(filter(None, (_progress(goal.done, goal), _time(snapshot))))
            yield "frames", count(frames)
    if success := _success(snapshot):
        yield "success", success
    if "intervention_share" in figures:
        yield "by hand", _by_hand(figures)
    if snapshot.waiting:
        yield "waiting", snapshot.waiting
    if snapshot.state == "running" and "frames_per_s" in figures:
        speed = f"{figures['frames_per_s']:.0f} frames/s"
        updates = (
            f", {figures.get('updates_per_s', 0):.1f} updates/s; {count(figures.get('updates'))} updates"
        )
        yield "speed", speed + (updates if learns else "")
    if "version" in figures and learns:
        lag = figures.get("policy_lag")
        behind = "" if lag is None else f", actors {lag:.1f} versions behind"
        yield "weights", f"v{figures['version']:.0f}{behind}"
    if "actors" in figures and snapshot.actors is None and snapshot.state == "running":
        yield "actors", f"{count(figures['actors'])} connected"
    if "episodes" in figures:
        yield "replay", f"{_replay(figures)}; {_disk(snapshot)}"
    if snapshot.page:
        yield "page", snapshot.page
    if snapshot.state == "not running":
        yield "go on", f"{go_on(snapshot)}, and the run's other words"


def _progress(done: float, goal: Goal | None) -> str:
    if goal is None:
        return count(done)
    share = min(1.0, done / goal.wanted)
    full = round(share * _BAR_COLUMNS)
    bar = "━" * full + "╌" * (_BAR_COLUMNS - full)
    return f"{count(done)} of {count(goal.wanted)} {bar} {int(100 * share)} %"


def _success(snapshot: Snapshot) -> str:
    now, training = snapshot.full[-1:], snapshot.figures.get("success_behaviour")
    parts = [f"now {_measured(measured)}" for measured in now]
    parts += [] if snapshot.base is None else [f"base {_measured(snapshot.base)}"]
    parts += [] if training is None else [f"training {percent(training)}"]
    return "; ".join(parts)


def _by_hand(figures: dict[str, float]) -> str:
    clipped = figures.get("intervention_clipped_share")
    beyond = "" if clipped is None else f"; {percent(clipped)} of these beyond what a residual reproduces"
    return f"{percent(figures['intervention_share'])} of the newest frames{beyond}"


def _measured(measured: Measured) -> str:
    if measured.low is None or measured.high is None:
        return percent(measured.success)
    interval = f"{100 * measured.low:.0f} to {100 * measured.high:.0f}"
    return f"{percent(measured.success)} ({interval}, {measured.episodes} episodes)"


def _time(snapshot: Snapshot) -> str:
    left = "" if snapshot.left_s is None else f", {duration(snapshot.left_s)} left at most"
    t_s = snapshot.figures.get("t_s")
    return "" if t_s is None else duration(t_s) + left


def _replay(figures: dict[str, float]) -> str:
    queued = figures.get("queue_episodes")
    parts = [f"{count(figures['episodes'])} episodes"]
    parts += [f"{count(queued)} waiting for the disk"] if queued else []
    if rows := figures.get("queue_rows"):
        parts.append(f"{count(rows)} rows waiting for the learner")
    return ", ".join(parts)


def _disk(snapshot: Snapshot) -> str:
    used, free_mb = snapshot.figures.get("disk_mb"), snapshot.free_mb
    parts = [] if used is None else [f"{used:,.0f} MB"]
    parts += [] if free_mb is None else [f"{free_mb / 1000:,.0f} GB free"]
    return ", ".join(parts)


def _with(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _grid(rows: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column()
    for label, text in rows.items():
        grid.add_row(label, Text(text))
    return grid
