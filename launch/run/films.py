"""Films at a run's end: made by a process of its own, after the summary, within a limit."""

import logging
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from config.main import Config
from config.process import StopRequest
from config.residual import ResidualConfig
from launch.run.folder import name_of, places
from launch.run.processes import Command, Team

log = logging.getLogger("launch")

NAME = "films"


def film_command(config: Config) -> Command:
    """The process that makes them."""
    run_dir, pairs = f"{config.runs_dir}/{config.name}", str(config.learner.evaluation.videos)
    env = (("OMP_NUM_THREADS", "1"), ("PYTHONUNBUFFERED", "1"))
    program = (sys.executable, "-m", "launch")
    trust = f"trust_remote_code={str(config.trust_remote_code).lower()}"
    film = (*program, "film", run_dir, trust, "--pairs", pairs, "--if-possible")
    return Command(NAME, NAME, film, env)


def is_filmed(config: Config) -> bool:
    """Whether films are wanted, and the run trains a residual, which they show beside the base."""
    return config.learner.evaluation.videos > 0 and isinstance(config.algo, ResidualConfig)


def make_films(config: Config, log_dir: Path, stop: StopRequest, echo: Callable[[str, str], None]) -> None:
    """The films of a run that is over, if it is one that is filmed. The run's exit code is the same whatever
    becomes of them; Ctrl-C ends them."""
    settings = config.learner.evaluation
    if not is_filmed(config) or stop.is_set():
        return
    log.info("filming %d seeds, at most %.0f min; Ctrl-C skips it", settings.videos, settings.videos_s / 60)
    by_hand = f"residual-rl film {shlex.quote(name_of(config.run_dir))}"
    team, deadline_s = Team(log_dir, echo), time.monotonic() + settings.videos_s
    try:
        team.start(film_command(config))
        while team.alive() and not stop.is_set() and time.monotonic() < deadline_s:
            for ended in team.pump(0.1):
                if ended.code:
                    log.warning("not all films could be made (exit code %d): %s", ended.code, by_hand)
        if team.alive():
            why = "skipped" if stop.is_set() else "no time is left (learner.evaluation.videos_s)"
            log.info("films: %s; make them later: %s", why, by_hand)
        if films := places(config.run_dir).get("films"):
            log.info("films are in %s", films)
    finally:
        team.end()
