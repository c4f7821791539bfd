"""Rounds of: residual RL on the base; successes collected with the residual on; a new base from them.

Each step is one command of this program, and leaves a file once it is done. Stopped or killed anywhere, the
same command goes on with the step that was under way, which resumes by itself.
"""

import contextlib
import json
import logging
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from config.files import locked, replace_text, require_writable
from config.improve import ImproveConfig, Improvement
from config.process import DONE, FAILED, FailedError, StopRequest, UsageError
from launch.improve.steps import STEPS, Figures, Step, Steps
from launch.improve.table import Rate, Round, Rounds, as_text, write_table
from launch.run.folder import is_run, wrapped
from launch.run.processes import Command, Team

log = logging.getLogger("improve")

# With time for a run to end its own children first.
_ESCALATION = ((signal.SIGINT, False, 20.0), (signal.SIGTERM, True, 3.0), (signal.SIGKILL, True, 2.0))
# What may differ when it goes on.
_FREE_TO_CHANGE = ("rounds", "target")


class _Asked(msgspec.Struct):
    """improve.json: what an improvement was begun with."""

    settings: ImproveConfig
    words: tuple[str, ...]


class Stopped(Exception):
    """A signal ended the step under way."""


def improve(asked: Improvement, stop: StopRequest) -> int:
    """All rounds; returns the exit code: 1 if no base reached the target.
    Raises UsageError: the folder belongs to another improvement. FailedError: a step failed."""
    folder = Path(asked.settings.runs_dir) / f"{asked.settings.name}"
    if is_run(folder):
        raise UsageError(f"{folder} is the folder of a run: choose another name=")
    require_writable(folder, folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, UsageError(f"{folder} is in use by another improve: choose another name=")):
        _require_same(folder, asked)
        try:
            return _rounds(Steps(asked, folder), stop)
        except Stopped:
            log.info("stopped: the same command goes on from there")
            return stop.exit_code


def _require_same(folder: Path, asked: Improvement) -> None:
    """Raise UsageError if the folder was begun with other words, since its rounds would not go together."""
    place = folder / "improve.json"
    mine = _Asked(asked.settings, asked.words)
    if place.is_file():
        try:
            theirs = msgspec.json.decode(place.read_bytes(), type=_Asked)
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{place} is damaged or of another release: {error}: choose another name="
            ) from error
        for key in ImproveConfig.__struct_fields__:
            was, now = getattr(theirs.settings, key), getattr(mine.settings, key)
            if key not in _FREE_TO_CHANGE and was != now:
                raise UsageError(f"{folder} was begun with {key}={was}, not {now}: choose another name=")
        if set(theirs.words) != set(mine.words):
            words = " ".join(theirs.words) or "no further words"
            raise UsageError(f"{folder} was begun with {words}: give them again, or choose another name=")
    replace_text(place, json.dumps(msgspec.to_builtins(mine), indent=1) + "\n")


def _rounds(steps: Steps, stop: StopRequest) -> int:
    settings, made = steps.asked.settings, list[Round]()
    start = _do(steps.first_evaluation(), stop, "")
    best_base, best = steps.asked.first.base.path, _rate(start)
    log.info("the first base alone: %s", best)
    while len(made) < settings.rounds and best.success < settings.target:
        number = len(made) + 1
        made.append(_round(steps, number, best_base, best, made, stop))
        if made[-1].new_base_alone.success > best.success:
            best_base, best = made[-1].new_base, made[-1].new_base_alone
        else:
            log.warning("round %d did not make the base better: %s stays the best", number, best_base)
        table = Rounds(
            task=steps.asked.first.task.env_id, target=settings.target, episodes=settings.episodes,
            first_seed=settings.first_seed, best_base=best_base, best=best, rounds=made,
        )  # fmt: skip
        write_table(steps.folder, table)
        for line in as_text(made):
            log.info("%s", line)
    reached = best.success >= settings.target
    log.info(
        "%s: base.path=%s, alone %s; %s", "done" if reached else f"below target={settings.target:g}",
        best_base, best, steps.folder / "rounds.md",
    )  # fmt: skip
    return DONE if reached else FAILED


def _round(
    steps: Steps, number: int, base: str, alone: Rate, earlier: Sequence[Round], stop: StopRequest
) -> Round:
    figures: dict[str, Figures] = {}
    for step in steps.of_round(number, base):
        left = _left(earlier, step.name, steps.asked.settings.rounds - number)
        figures[step.name] = _do(step, stop, f"round {number} of {steps.asked.settings.rounds}{left}: ")
    residual, collected = figures["residual"], figures["collect"]
    return Round(
        number=number,
        base=base,
        base_alone=alone,
        with_residual=residual["final_success"],
        new_base=figures["evaluate"]["base"],
        new_base_alone=_rate(figures["evaluate"]),
        frames=residual["frames"],
        collected_frames=collected["frames"],
        minutes={name: each["minutes"] for name, each in figures.items()},
    )


def _left(earlier: Sequence[Round], step: str, rounds_after: int) -> str:
    """In words, how long it may still take, from the mean of the rounds before; empty in the first round."""
    if not earlier:
        return ""
    mean = {name: sum(each.minutes[name] for each in earlier) / len(earlier) for name in STEPS}
    of_this = sum(mean[name] for name in STEPS[STEPS.index(step) :])
    return (
        f", about {of_this:.0f} min left, {of_this + rounds_after * sum(mean.values()):.0f} with all rounds"
    )


def _do(step: Step, stop: StopRequest, prefix: str) -> Figures:
    """Run a step unless it is done; its figures, with the minutes that it took.
    Raises FailedError: it failed. Stopped: a signal came."""
    if (done := step.done) is not None:
        return done
    log.info("%s%s", prefix, step.says)
    step.folder.mkdir(parents=True, exist_ok=True)
    started, spent = time.monotonic(), _spent(step)
    printed = {} if step.is_over else _run(step, stop)
    minutes = spent + (time.monotonic() - started) / 60
    if printed is None:
        replace_text(_spent_file(step), f"{minutes}\n")
        raise Stopped
    figures = step.figures(printed) | {"minutes": round(minutes, 2)}
    replace_text(step.marker, json.dumps(figures, indent=1) + "\n")
    _spent_file(step).unlink(missing_ok=True)
    return figures


def _spent_file(step: Step) -> Path:
    return step.marker.with_suffix(".minutes")


def _spent(step: Step) -> float:
    """Minutes of earlier processes of this step that a signal stopped."""
    file = _spent_file(step)
    return float(file.read_text()) if file.is_file() else 0.0


def _run(step: Step, stop: StopRequest) -> Figures | None:
    """Run its command; what it printed as JSON, or None once a signal has ended it."""
    printed: Figures = {}
    said = ["nothing was said"]

    def hear(name: str, line: str) -> None:
        if line.startswith("{") and line.endswith("}"):
            with contextlib.suppress(ValueError):  # a line for people, in braces
                printed.update(json.loads(line))
                return
        if "error: " in line:
            said.append(line.partition("error: ")[2])
        columns = shutil.get_terminal_size().columns
        lines = wrapped(line, f"{name:<9} | ", columns) if sys.stdout.isatty() else [f"{name:<9} | {line}"]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    team = Team(step.folder / "logs", hear)
    try:
        team.start(Command(step.name, step.name, step.argv()))
        while not stop.is_set():
            for ended in team.pump(0.5):
                if ended.code == 0:
                    return printed
                # What is said first is the cause, the rest its consequences.
                raise FailedError(
                    f"{step.says} failed (exit code {ended.code}): {said[:2][-1]}; its log: "
                    f"{step.folder / 'logs'}; the same command goes on from there"
                )
        return None
    finally:
        team.end(_ESCALATION)


def _rate(figures: Figures) -> Rate:
    return Rate(figures["success"], figures["low"], figures["high"])
