"""Settings x tasks x seeds, one run after the other, unattended and within a time budget.

Every run is one `residual-rl run` with ports of its own; Ctrl-C ends it and the study. Each adds a line to
`record` and a row to `table`, failures too. A run that `record` has for the same code, overrides
and seed is not repeated; one that Ctrl-C or the budget cut short is. Seeds come first: after each of
them, every setting was tried as often. A run's output goes to its folder, logs/run.log.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from config.cluster import LocalConfig, SlurmConfig
from config.compose import CONFIG_DIR, compose_config, compose_launch
from config.files import require_writable
from config.process import StopRequest
from config.section import ConfigError, Section, require_finite
from config.words import read_text, texts_of
from launch.run.code_version import CodeVersion
from launch.run.ports import free_ports
from launch.run.processes import Command, Team
from launch.study.records import add_row, append_record, describe, measure, read_records

log = logging.getLogger("study")

# As in launch/run/processes.py, but with time for a run to end its own children first.
_ESCALATION = ((signal.SIGINT, False, 20.0), (signal.SIGTERM, True, 3.0), (signal.SIGKILL, True, 2.0))
RUN = (sys.executable, "-m", "launch", "run")


class Study(Section, frozen=True):
    """config/study.yaml"""

    name: str
    experiment: str | None
    cluster: tuple[str, ...]
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
        self.filled("name", "experiment", "runs_dir", "record", "table", "tasks")

    @property
    def shared(self) -> tuple[str, ...]:
        """Words that all runs have before their own."""
        return () if self.experiment is None else (f"experiment={self.experiment}",)


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
    """config/study.yaml, then the sweep of its experiment, then FILE.yaml, then key=value words; a key given
    replaces the whole key. Words `cluster=slurm` and `cluster.KEY=VALUE` become items of the key `cluster`.
    Raises ConfigError: in one line, naming the key."""
    plain: dict[str, Any] = yaml.safe_load((CONFIG_DIR / "study.yaml").read_text())
    files = [word for word in words if "=" not in word]
    places = [word for word in words if word.startswith(("cluster=", "cluster."))]
    try:
        given: dict[str, Any] = {}
        for file in files:
            given |= _mapping(Path(file))
        given |= _given([word for word in words if "=" in word and word not in places])
        if (experiment := given.get("experiment")) is not None:
            plain |= _sweep_of(experiment)
        plain |= given
        plain["cluster"] = [*plain["cluster"], *places]
        require_finite(plain)
        study = msgspec.convert(plain, Study, strict=True)
        for trial in trials(study):
            if trial.seed == study.seeds[0]:
                compose_config([*run_overrides(trial, study), f"name={study.name}-{trial.setting}"])
        cluster_of(study)
    except ConfigError:
        raise
    # YAML raises a plain ValueError for a date that is none.
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"study: {' '.join(str(error).split())}") from error
    return study


def _sweep_of(experiment: str) -> dict[str, Any]:
    """Keys of a study that an experiment sets. Its task is the study's, unless the sweep has tasks.
    Raises ConfigError: there is no such experiment."""
    launch = compose_launch([f"experiment={experiment}"])
    return {"tasks": [launch.task.name]} | launch.sweep


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


def cluster_of(study: Study) -> LocalConfig | SlurmConfig:
    """Where the study's runs are to be. Raises ConfigError."""
    return compose_launch([*study.shared, *study.cluster]).cluster


def trials(study: Study) -> Iterator[Trial]:
    for seed in study.seeds:
        for task in study.tasks:
            for setting, overrides in study.settings.items():
                yield Trial(task, setting, seed, (*study.shared, *study.common, *overrides))


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


def require_files(study: Study) -> None:
    """Raise UsageError if the record, the table or the folder of runs cannot be written."""
    require_writable(Path(study.runs_dir), folder=True)
    for file in (study.record, study.table):
        require_writable(Path(file), folder=False)


def is_recorded(trial: Trial, study: Study, code: CodeVersion) -> bool:
    """Whether the record has the trial for this code; one that was stopped does not count."""
    return any(
        (r["code"], r["command"], r["seed"]) == (code.digest, trial.command, trial.seed)
        and not r["status"].startswith("stopped")
        for r in read_records(Path(study.record))
    )


def new_name(trial: Trial, study: Study) -> str:
    """Of a run of the trial that begins now."""
    return f"{study.name}-{trial.task}-{trial.setting}-s{trial.seed}-{time.strftime('%m%d-%H%M%S')}"


def record_run(trial: Trial, study: Study, code: CodeVersion, name: str, started: str, status: str) -> None:
    """A line in the record and a row in the table, for a run that is over."""
    about_it = {
        "time": started, "study": study.name, "name": name, "task": trial.task, "setting": trial.setting,
        "seed": trial.seed, "command": trial.command, "commit": code.commit, "code": code.digest,
        "status": status,
    }  # fmt: skip
    entry = about_it | measure(Path(study.runs_dir) / name)
    append_record(Path(study.record), entry)
    add_row(Path(study.table), entry)
    log.info("%s", describe(entry))


def run_study(study: Study, stop: StopRequest) -> int:
    """All runs that are not in the record yet, here; returns the exit code.
    Raises UsageError: the record, the table or the folder of runs cannot be written."""
    until_s = time.monotonic() + 60 * study.budget_min
    require_files(study)
    planned = list(trials(study))
    for number, trial in enumerate(planned, 1):
        code = CodeVersion.here()
        about = f"{number} of {len(planned)}: {trial.setting}, {trial.task}, seed {trial.seed}"
        if is_recorded(trial, study, code):
            log.info("%s: in %s already", about, study.record)
            continue
        if time.monotonic() > until_s:
            log.info("%s: not begun, the budget of %g min is over", about, study.budget_min)
            continue
        started, name = time.strftime("%Y-%m-%d %H:%M"), new_name(trial, study)
        log.info("%s: %s", about, Path(study.runs_dir) / name)
        status = run_trial(trial, study, name, stop, until_s)
        record_run(trial, study, code, name, started, status)
        if stop.is_set():
            return stop.exit_code
    return 0
