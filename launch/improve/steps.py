"""The steps of a round: what each runs, and what its result is."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.improve import Improvement, without_algo
from config.process import FailedError
from config.words import quoted
from launch.run.folder import SUMMARY, read_summary
from launch.run.ports import free_ports

PROGRAM = (sys.executable, "-m", "launch")
STEPS = ("residual", "collect", "base", "evaluate")

Figures = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One command of a round.

    Attributes:
        figures: its result, from its files, or from the last line of JSON that it printed.
    """

    name: str
    folder: Path
    """Of its round, or of all rounds."""
    says: str
    argv: Callable[[], tuple[str, ...]]
    """Asked when it starts: ports must be free then."""
    figures: Callable[[Figures], Figures]
    last: Path | None = None
    """The file that its command writes last, and with which the same command is refused. None: it is not."""

    @property
    def marker(self) -> Path:
        """The file that says that it is done, with its figures and minutes."""
        return self.folder / f"{self.name}.json"

    @property
    def done(self) -> Figures | None:
        """The content of its file; None: it is still to do."""
        return json.loads(self.marker.read_text()) if self.marker.is_file() else None

    @property
    def is_over(self) -> bool:
        """An earlier process of its command has finished; this program was killed before it noted that."""
        return self.last is not None and self.last.is_file()


@dataclass(frozen=True)
class Steps:
    """Makes the steps of an improvement that lives in `folder`."""

    asked: Improvement
    folder: Path

    def round_folder(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def first_evaluation(self) -> Step:
        """Of the base that all begins with."""
        return self._evaluation("start", self.folder, self.asked.first.base.path, "the first base alone")

    def of_round(self, number: int, base: str) -> list[Step]:
        """On `base`, in order."""
        folder, settings = self.round_folder(number), self.asked.settings
        of_run = [
            "learner.evaluation.videos=0", f"base.path={quoted(base)}", f"runs_dir={quoted(str(folder))}",
            f"seed={settings.seed + number - 1}",
        ]  # fmt: skip
        residual = [*self.asked.words, *of_run, f"learner.total_frames={settings.frames}", *settings.run]
        collect = [
            *without_algo(self.asked.words), *of_run,
            "algo=collect", f"algo.from_run={quoted(str(folder / 'residual'))}",
            "algo.episodes=null", f"algo.successes={settings.successes}", "algo.keep=successes",
            *settings.collect,
        ]  # fmt: skip
        frames, successes = f"{settings.frames:,} frames", f"{settings.successes} successes"
        return [
            self._run("residual", folder, f"residual RL on {base}, at most {frames}", residual),
            self._run("collect", folder, f"collecting {successes} with the residual on", collect),
            self._training(number, base),
            self._evaluation("evaluate", folder, str(folder / "base"), "the new base alone"),
        ]

    def _run(self, name: str, folder: Path, says: str, words: list[str]) -> Step:
        def argv() -> tuple[str, ...]:
            experience, weights = free_ports()
            ports = (f"wire.experience_port={experience}", f"wire.weights_port={weights}", "page.port=null")
            return (*PROGRAM, "run", f"name={name}", *ports, *words)

        return Step(name, folder, says, argv, lambda _: _summary(folder / name), folder / name / SUMMARY)

    def _training(self, number: int, base: str) -> Step:
        folder, settings, task = self.round_folder(number), self.asked.settings, self.asked.first.task
        demos = (settings.demos,) if isinstance(settings.demos, str) else settings.demos or ()
        collected = [str(self.round_folder(i) / "collect" / "replay") for i in range(1, number + 1)]
        words = [
            f"task={task.env_id}", f"control_mode={task.control_mode}", f"seed={settings.seed + number - 1}",
            f"demos=[{','.join(map(quoted, (*demos, *collected)))}]", f"out={quoted(str(folder / 'base'))}",
        ]  # fmt: skip
        words += [f"start_from={quoted(base)}"] if settings.start_from == "base" else []
        says = "a new base from demonstrations and successes"
        return Step("base", folder, says, lambda: (*PROGRAM, "train-base", *words, *settings.train), dict)

    def _evaluation(self, name: str, folder: Path, base: str, says: str) -> Step:
        settings = self.asked.settings
        options = ("--seeds", f"{settings.first_seed}:", "--episodes", f"{settings.episodes}")
        words = (*self.asked.words, f"base.path={quoted(base)}")

        def figures(printed: Figures) -> Figures:
            return {key: printed[key] for key in ("success", "low", "high")} | {"base": base}

        return Step(name, folder, says, lambda: (*PROGRAM, "evaluate", *words, *options), figures)


def _summary(run_dir: Path) -> Figures:
    summary = read_summary(run_dir)
    if summary is None:
        raise FailedError(f"the run {run_dir} ended without its summary.json")
    keys = ("final_success", "best_success", "evaluation_episodes", "frames", "episodes")
    return {key: summary.get(key) for key in keys}
