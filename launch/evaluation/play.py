"""Plays the episodes of an evaluation in several processes, each with a share of the seeds."""

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tqdm import tqdm

from actor.evaluation import EvaluationResult, Outcome
from config.compose import write_config
from config.limits import usable_processors
from config.main import Config
from config.process import USAGE_ERROR, FailedError, StopRequest, UsageError
from launch.evaluation.share import OUTCOME
from launch.evaluation.subject import Subject
from launch.run.processes import Command, Ended, Team

log = logging.getLogger("evaluate")

# A process takes seconds to start, about as long as it plays so many episodes.
EPISODES_PER_PROCESS = 8


def processes_for(config: Config, asked: int | None) -> int:
    """As many as asked, or one for each processor; one where a GPU simulates all episodes at once."""
    episodes = config.learner.evaluation.episodes
    usual = 1 if config.actor.backend == "physx_cuda" else usable_processors()
    wanted = asked or min(usual, -(-episodes // EPISODES_PER_PROCESS))
    return min(wanted, episodes)


def shares(config: Config, processes: int) -> list[Config]:
    """The configuration of each process. Together they play every seed once."""
    settings, actor = config.learner.evaluation, config.actor
    borders = [settings.episodes * i // processes for i in range(processes + 1)]
    if processes > 1:
        actor = msgspec.structs.replace(actor, processes=1)
    return [
        msgspec.structs.replace(
            config,
            actor=actor,
            learner=msgspec.structs.replace(
                config.learner,
                evaluation=msgspec.structs.replace(
                    settings,
                    first_seed=settings.first_seed + start,
                    episodes=stop - start,
                    num_envs=min(settings.num_envs, stop - start),
                ),
            ),
        )
        for start, stop in zip(borders, borders[1:], strict=False)
    ]


def play(
    subject: Subject, processes: int, stop: StopRequest
) -> tuple[EvaluationResult, list[Outcome]] | None:
    """All episodes, and each one's outcome; None if `stop` was set meanwhile.
    Raises UsageError: it cannot be played. FailedError: a process failed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Playing(subject.config) as playing:
        team = Team(None, playing.hear)
        try:
            for number, share in enumerate(shares(subject.config, processes)):
                file = Path(folder) / f"{number}.yaml"
                write_config(file, share)
                team.start(Command(f"share-{number}", "share", _argv(file, subject.residual), _ENVIRONMENT))
            while team.alive():
                if stop.is_set():
                    return None
                for ended in team.pump(0.2):
                    playing.require_done(ended)
        finally:
            team.end()
        return EvaluationResult.of(playing.outcomes, time.monotonic() - started), playing.outcomes


_ENVIRONMENT = (("OMP_NUM_THREADS", "1"),)


def _argv(config: Path, residual: Path | None) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "launch.evaluation.share", str(config))
    return argv if residual is None else (*argv, str(residual))


class Playing:
    """The outcomes so far; on a terminal a bar shows them."""

    def __init__(self, config: Config) -> None:
        self.outcomes: list[Outcome] = []
        self._said: dict[str, list[str]] = {}
        total = config.learner.evaluation.episodes
        self._bar = tqdm(total=total, desc=f"evaluating {config.task.env_id}", disable=None)

    def __enter__(self) -> "Playing":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def hear(self, name: str, line: str) -> None:
        """A line of a process."""
        if not line.startswith(OUTCOME):
            self._said.setdefault(name, []).append(line)
            return
        self.outcomes.append(msgspec.json.decode(line.removeprefix(OUTCOME), type=Outcome))
        rate = sum(each.success for each in self.outcomes) / len(self.outcomes)
        self._bar.set_postfix_str(f"success {rate:.0%}", refresh=False)
        self._bar.update()

    def require_done(self, ended: Ended) -> None:
        """Raise UsageError or FailedError, with its own words, unless a process ended well."""
        if ended.code == USAGE_ERROR and ended.error:
            raise UsageError(ended.error)
        if ended.code:
            said: Sequence[str] = self._said.get(ended.command.name, [])
            last = ended.error or (said[-1] if said else "nothing was said")
            raise FailedError(f"a process of the evaluation ended with exit code {ended.code}: {last}")
