"""Settings x tasks x seeds, one run after the other, unattended and within a time budget.

Every run is one `residual-rl run` with ports of its own; Ctrl-C ends it and the study. Each adds a line to
`record` and a row to `table`, failures too. A run that `record` has for the same code, overrides
and seed is not repeated; one that Ctrl-C or the budget cut short is. Seeds come first: after each of
them, every setting was tried as often. A run's output goes to its folder, logs/run.log.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from config.compose import CONFIG_DIR, compose_config
from config.files import require_writable
from config.process import StopRequest
from config.section import ConfigError, Section, require_finite
from config.words import read_text, texts_of
from launch.run.code_version import CodeVersion
from launch.run.processes import Command, Team
from launch.study.records import add_row, append_record, describe, measure, read_records

log = logging.getLogger("study")

# As in launch/run/processes.py, but with time for a run to end its own children first.
_ESCALATION = ((signal.SIGINT, False, 20.0), (signal.SIGTERM, True, 3.0), (signal.SIGKILL, True, 2.0))
RUN = (sys.executable, "-m", "launch", "run")


class Study(Section, frozen=True):
    """config/study.yaml"""

    name: str
    budget_min: float
    run_budget_min: float | None
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: dict[str, tuple[str, ...]]
    common: tuple[str, ...]
    runs_dir: str
    record: str
    table: str

    def __post_init__(self) -> None:
        self.positive("budget_min")
        self.require(self.run_budget_min is None or self.run_budget_min > 0, "run_budget_min", "above 0")
        for key in ("tasks", "seeds", "settings"):
            self.require(len(getattr(self, key)) > 0, key, "one or more")
        self.filled("name", "runs_dir", "record", "table", "tasks")


@dataclass(frozen=True)
class Trial:
    """One run of the grid."""

    task: str
    setting: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def command(self) -> str:
        """What sets it apart, as a person would type it."""
        return " ".join((f"task={self.task}", *self.overrides))


def read_study(words: Sequence[str]) -> Study:
    """config/study.yaml, then FILE.yaml, then key=value words; a key given replaces the whole key.
    Raises ConfigError: in one line, naming the key."""
    plain: dict[str, Any] = yaml.safe_load((CONFIG_DIR / "study.yaml").read_text())
    files = [word for word in words if "=" not in word]
    try:
        for file in files:
            plain |= _mapping(Path(file))
        plain |= _given([word for word in words if "=" in word])
        require_finite(plain)
        study = msgspec.convert(plain, Study, strict=True)
        for trial in trials(study):
            if trial.seed == study.seeds[0]:
                compose_config([*run_overrides(trial, study), f"name={study.name}-{trial.setting}"])
    except ConfigError:
        raise
    # YAML raises a plain ValueError for a date that is none.
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"study: {' '.join(str(error).split())}") from error
    return study


def _given(words: Sequence[str]) -> dict[str, Any]:
    """What key=value words set; other values than text are YAML."""
    given: dict[str, Any] = {}
    for key, _, value in (word.partition("=") for word in words):
        text, place = texts_of(Study).get(key), given
        *above, last = key.split(".")
        for name in above:
            place = place.setdefault(name, {})
        place[last] = yaml.safe_load(value) if text is None else read_text(value, text)
    return given


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"study: {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"study: {path} holds no keys of a study: see --help")
    return content


def trials(study: Study) -> Iterator[Trial]:
    for seed in study.seeds:
        for task in study.tasks:
            for setting, overrides in study.settings.items():
                yield Trial(task, setting, seed, (*study.common, *overrides))


def run_overrides(trial: Trial, study: Study) -> list[str]:
    """The words of `residual-rl run`, less name and ports.
    All runs use their whole frame budget, so that their curves compare, and make no films, unless one is told
    otherwise."""
    usual = {"learner.stop_at": "null", "learner.evaluation.videos": "0"}
    whole = [
        f"{key}={value}"
        for key, value in usual.items()
        if not any(word.startswith(key) for word in trial.overrides)
    ]
    return [
        f"task={trial.task}",
        *whole,
        *trial.overrides,
        f"seed={trial.seed}",
        f"runs_dir={study.runs_dir}",
    ]


def free_ports() -> tuple[int, int]:
    """Two loopback ports that nobody listens on now."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def run_trial(trial: Trial, study: Study, name: str, stop: StopRequest, until_s: float) -> str:
    """One run from start to end; nothing of it is left running.

    Returns:
        "finished", "failed: ...", or "stopped: ..." where Ctrl-C or a budget ended it.
    """
    experience, weights = free_ports()
    ports = (f"wire.experience_port={experience}", f"wire.weights_port={weights}")
    words = (*run_overrides(trial, study), f"name={name}", *ports)
    said = ["nothing was said"]

    def remember(_: str, line: str) -> None:
        if "error" in line or "ended early" in line:
            said.append(line.partition("| ")[2] or line)

    team = Team(Path(study.runs_dir) / name / "logs", remember)
    try:
        # Trackers show the runs of a study together.
        group = (("WANDB_RUN_GROUP", study.name),) if "WANDB_RUN_GROUP" not in os.environ else ()
        team.start(Command("run", "run", (*RUN, *words), group))
        run_until_s = until_s
        if study.run_budget_min is not None:
            run_until_s = min(until_s, time.monotonic() + 60 * study.run_budget_min)
        while True:
            for ended in team.pump(0.5):
                # What is said first is the cause, the rest its consequences.
                return "finished" if ended.code == 0 else "failed: " + said[:2][-1].removeprefix("error: ")
            if stop.is_set():
                return "stopped: " + signal.Signals(stop.signal or signal.SIGTERM).name
            if time.monotonic() > run_until_s:
                return "stopped: budget" if run_until_s == until_s else "failed: run_budget_min is over"
    finally:
        team.end(_ESCALATION)


def run_study(study: Study, stop: StopRequest) -> int:
    """All runs that are not in the record yet; returns the exit code.
    Raises UsageError: the record, the table or the folder of runs cannot be written."""
    until_s = time.monotonic() + 60 * study.budget_min
    record, table = Path(study.record), Path(study.table)
    require_writable(Path(study.runs_dir), folder=True)
    for file in (record, table):
        require_writable(file, folder=False)
    planned = list(trials(study))
    for number, trial in enumerate(planned, 1):
        code = CodeVersion.here()
        about = f"{number} of {len(planned)}: {trial.setting}, {trial.task}, seed {trial.seed}"
        if any(
            (r["code"], r["command"], r["seed"]) == (code.digest, trial.command, trial.seed)
            and not r["status"].startswith("stopped")
            for r in read_records(record)
        ):
            log.info("%s: in %s already", about, record)
            continue
        if time.monotonic() > until_s:
            log.info("%s: not begun, the budget of %g min is over", about, study.budget_min)
            continue
        started = time.strftime("%Y-%m-%d %H:%M")
        name = f"{study.name}-{trial.task}-{trial.setting}-s{trial.seed}-{time.strftime('%m%d-%H%M%S')}"
        log.info("%s: %s", about, Path(study.runs_dir) / name)
        status = run_trial(trial, study, name, stop, until_s)
        about_it = {
            "time": started, "study": study.name, "name": name, "task": trial.task, "setting": trial.setting,
            "seed": trial.seed, "command": trial.command, "commit": code.commit, "code": code.digest,
            "status": status,
        }  # fmt: skip
        entry = about_it | measure(Path(study.runs_dir) / name)
        append_record(record, entry)
        add_row(table, entry)
        log.info("%s", describe(entry))
        if stop.is_set():
            return stop.exit_code
    return 0
