"""The charts of a run."""

import html
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from launch.run.folder import Point
from launch.show.page.model import Chart, Trace
from launch.show.page.record import Evaluated, Record

MOST_POINTS = 1500
"""Of a line; of more, every second, third, ... is drawn, and always the newest."""
BLUE, GREEN, ORANGE, GREY = "#1f6fb4", "#2a8f4d", "#d9772b", "#6b7280"

PERCENT = {"yaxis": {"range": [0, 1.03], "tickformat": ".0%"}}
FROM_ZERO = {"yaxis": {"rangemode": "tozero"}}
# "3 of 9 decisions", "first experience, 2 actors connected"
_AMOUNT = re.compile(r"^\d+ of \d+ |, \d+ .*$")


class Lines:
    """Traces over frames and, the same, over minutes."""

    def __init__(self) -> None:
        self.data: list[Trace] = []
        self.minutes: list[Trace] = []

    def add(self, key: str, name: str, points: Sequence[Point], **more: Any) -> None:
        """A line for one figure; none where it was not measured."""
        points = [point for point in thinned(points) if _is_drawn(point, key)]
        if points:
            frames = [point["frames"] for point in points]
            minutes = [point["t_s"] / 60 for point in points]
            values = [float(f"{point[key]:.6g}") for point in points]
            self.put({"mode": "lines", "name": html.escape(name), "y": values, **more}, frames, minutes)

    def put(self, trace: Trace, frames: Sequence[float], minutes: Sequence[float]) -> None:
        """A trace with one y for both."""
        over_minutes = {"x": [round(value, 3) for value in minutes]}
        self.put_both({"x": list(frames), **trace}, over_minutes)

    def put_both(self, trace: Trace, over_minutes: Trace) -> None:
        self.data.append({"type": "scatter", **trace})
        self.minutes.append(over_minutes)

    def chart(self, name: str, title: str, note: str, layout: dict[str, Any]) -> Chart:
        return Chart(name, title, note, self.data, self.minutes, layout)


def run_charts(record: Record) -> list[Chart]:
    """All of them, also those that have nothing to show yet."""
    if record.collects:
        return [_collected(record), _speed(record), _waits(record.points)]
    return [
        _success(record),
        *(_of_trained_base(record) if record.trains_base else _of_residual(record)),
        _two_axes(
            record, "lag", "Policy lag",
            "How much older the weights behind the received decisions are than the newest.",
            {"policy_lag": "versions", "policy_lag_s": "seconds"},
        ),
        _speed(record),
        _waits(record.points),
    ]  # fmt: skip


def _speed(record: Record) -> Chart:
    figures = {"frames_per_s": "frames/s", "updates_per_s": "updates/s"}
    return _two_axes(record, "speed", "Speed", "Since the point before.", figures)


def _collected(record: Record) -> Chart:
    figures = {"episodes_played": "played", "successes": "succeeded"}
    return _plain(
        record, "collected", "Episodes", "Played to their end, and how many of these succeeded.", figures,
        FROM_ZERO,
    )  # fmt: skip


def _of_trained_base(record: Record) -> list[Chart]:
    return [
        _plain(
            record, "behaviour", "Behaviour of the actors",
            "Success of the last 100 episodes, which the newest base plays.",
            {"success_behaviour": "success"}, PERCENT,
        ),
        _losses(record),
        _plain(
            record, "rate", "Learning rate", "Of the newest update.", {"base_lr": "learning rate"}, FROM_ZERO
        ),
        _two_axes(
            record, "successes", "What the base learns from",
            "Successful episodes of this run, and rounds begun; none with algo=sft, which learns from data.",
            {"successes": "episodes", "rounds": "rounds"},
        ),
    ]  # fmt: skip


def _losses(record: Record) -> Chart:
    keys = {key: key.removeprefix("loss/") for key in _keys(record.points, "loss/")}
    return _plain(record, "losses", "Losses", "Of the newest batch at each point.", keys, {})


def _of_residual(record: Record) -> list[Chart]:
    return [
        _plain(
            record, "behaviour", "Behaviour of the actors",
            "Success of the last 100 training episodes, and the share of episodes (of decisions, with "
            "algo.mask_by=decisions) in which the residual acts. Where somebody intervenes: the share of "
            "their frames, and of these the share that no residual reproduces. Where a classifier says "
            "success: the simulator's, and the share of the successes that are false.",
            {
                "success_behaviour": "success", "mask_probability": "residual acts",
                "intervention_share": "by hand", "intervention_clipped_share": "of these clipped",
                "true_success_behaviour": "true success", "false_success_share_behaviour": "false successes",
            }, PERCENT,
        ),
        _losses(record),
        _plain(
            record, "q", "Value: expected and earned",
            "Mean value that the critics expect of a batch, its target, and the discounted reward that "
            "really followed the decisions of such a batch.",
            {"q_mean": "expected (Q)", "target_mean": "target", "return_earned": "earned"}, {},
        ),
        _plain(
            record, "residual", "Residual",
            "Mean size of the residual in a batch (1 is its bound), and its share at the bound.",
            {"residual_size": "size", "residual_at_bound": "share at the bound"}, FROM_ZERO,
        ),
    ]  # fmt: skip


def evaluations_trace(evaluations: Sequence[Evaluated], name: str, colour: str) -> Trace:
    """Points with their 95 % intervals."""
    bounds = [each.interval for each in evaluations]
    rates = [each.rate for each in evaluations]
    return {
        "mode": "lines+markers",
        "name": name,
        "y": rates,
        "line": {"color": colour, "width": 2.5},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [high - rate for rate, (_, high) in zip(rates, bounds, strict=True)],
            "arrayminus": [rate - low for rate, (low, _) in zip(rates, bounds, strict=True)],
            "thickness": 1.2,
        },
        "text": [f"{each.episodes} episodes, weights v{each.version}" for each in evaluations],
    }


def _success(record: Record) -> Chart:
    # Room for the interval of an evaluation before the first frame.
    lines, layout = Lines(), PERCENT | {"xaxis": {"rangemode": "normal", "zeroline": False}}
    lines.add(
        "success_behaviour", "behaviour of the actors", record.points, line={"color": ORANGE, "width": 1.2}
    )
    full = record.full
    if full:
        trace = evaluations_trace(full, f"{record.trained} (95 % interval)", BLUE)
        lines.put(trace, [each.frames for each in full], [each.minutes for each in full])
    if base := record.base:
        low, high = base.interval
        trace = {"mode": "lines", "name": "base alone (95 % interval)", "y": [base.rate] * 2,
                 "line": {"color": GREY, "dash": "dash"}}  # fmt: skip
        lines.put(trace, [0, _last(lines.data)], [0, _last(lines.minutes)])
        layout |= {"shapes": [{
            "type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": low, "y1": high,
            "fillcolor": GREY, "opacity": 0.15, "line": {"width": 0}, "layer": "below",
        }]}  # fmt: skip
    note = "Evaluations over fixed seeds, at the frames when the evaluated weights were published."
    return lines.chart("success", "Success", note, layout)


def _plain(
    record: Record, name: str, title: str, note: str, keys: dict[str, str], layout: dict[str, Any]
) -> Chart:
    lines = Lines()
    for key, label in keys.items():
        lines.add(key, label, record.points)
    return lines.chart(name, title, note, layout)


def _two_axes(record: Record, name: str, title: str, note: str, keys: dict[str, str]) -> Chart:
    """Two lines of different units: the first has the axis on the left, the second that on the right."""
    lines, layout = Lines(), dict[str, Any]()
    sides = {"yaxis": BLUE, "yaxis2": ORANGE}
    for (key, label), (axis, colour) in zip(keys.items(), sides.items(), strict=True):
        lines.add(key, label, record.points, yaxis=axis.replace("axis", ""), line={"color": colour})
        text = {"text": label, "font": {"color": colour}}
        layout[axis] = FROM_ZERO["yaxis"] | {"title": text, "automargin": True}
    layout["yaxis2"] |= {"overlaying": "y", "side": "right", "showgrid": False, "tickmode": "auto"}
    return lines.chart(name, title, note, layout)


def waits(points: Sequence[Point]) -> dict[str, float]:
    """What the learner waited for, in shares of all points, without how much of it was there."""
    said = [str(point["waiting_for"]) for point in points if "waiting_for" in point]
    counts = Counter(_AMOUNT.sub("", text) or "nothing (it receives and learns)" for text in said)
    return {reason: count / len(said) for reason, count in counts.most_common()}


def _waits(points: Sequence[Point]) -> Chart:
    shares = waits(points)
    data = [{
        "type": "bar", "orientation": "h", "x": list(shares.values()), "marker": {"color": BLUE},
        "y": [html.escape(reason) for reason in shares],
    }]  # fmt: skip
    layout = {
        "xaxis": {"tickformat": ".0%", "range": [0, 1.03]},
        "yaxis": {"autorange": "reversed", "automargin": True},
    }
    note = "What the learner waited for, in shares of the points of metrics.jsonl."
    return Chart("waits", "Waiting", note, data if shares else [], None, layout)


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    step = -(-len(points) // MOST_POINTS) or 1
    return points[::-1][::step][::-1]


def _is_drawn(point: Point, key: str) -> bool:
    return all(isinstance(point.get(name), int | float) for name in (key, "frames", "t_s"))


def _keys(points: Sequence[Point], prefix: str) -> list[str]:
    return sorted({key for point in points for key in point if key.startswith(prefix)})


def _last(traces: Sequence[Trace]) -> float:
    """Where the axis ends."""
    return max((x for trace in traces for x in trace["x"]), default=0) or 1
