"""A run in LeRobot's visualiser: one episode, or a page of all."""

import itertools
import logging
import os
import shlex
import subprocess
from pathlib import Path

from config.process import UsageError
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import BrokenError, open_snapshot
from learner.replay.tools.outcomes import EpisodeOutcome, read_outcomes, read_repo_id
from learner.replay.tools.visualiser import visualiser_command

log = logging.getLogger("viz")


class VizError(UsageError):
    """An episode that cannot be shown; one line that says why."""


def show_episode(run_dir: Path, episode: str, folder: Path | None, passed_on: list[str]) -> int:
    """Replace this process by the visualiser. With a folder, run it to write a file there instead, and return
    its exit code.
    Raises VizError: there is no such run or episode, or no display for a window."""
    command = make_command(run_dir, episode, folder, passed_on)
    log.info("%s", shlex.join(command))
    # All files are on this disk: LeRobot must not ask the Hub for one that is missing.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if folder is None:
        os.execvpe(command[0], command, environment)
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        log.info(
            "%s: open it with rerun, on any machine (pip install rerun-sdk)", saved_file(folder, command)
        )
    return code


def make_command(run_dir: Path, episode: str, save: Path | None, passed_on: list[str]) -> list[str]:
    """The visualiser's command line.
    Raises VizError: there is no such run or episode, or no display for a window."""
    replay = run_dir / "replay"
    outcomes, repo_id = read_replay(run_dir)
    argv = shlex.split(visualiser_command(replay, repo_id, choose_episode(outcomes, episode)))
    if save is not None:
        return [*argv, "--save", "1", "--output-dir", str(save), *passed_on]
    if not passed_on and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise VizError("no display for a window: add --save for a file, or --mode distant to serve it")
    return [*argv, *passed_on]


def saved_file(folder: Path, command: list[str]) -> Path:
    """The file that the visualiser writes when it is called with `command`."""
    words = dict(itertools.pairwise(command))
    return folder / f"{words['--repo-id'].replace('/', '_')}_episode_{words['--episode-index']}.rrd"


def read_replay(run_dir: Path) -> tuple[list[EpisodeOutcome], str]:
    """The episodes of a run's replay, and its repo id.
    Raises VizError: there is no such run, or no episode yet."""
    replay = run_dir / "replay"
    try:
        if not run_dir.is_dir():
            raise VizError(f"no run {run_dir}: name a folder under runs/")
        outcomes: list[EpisodeOutcome] = []
        if replay.exists():
            with open_snapshot(replay) as view:
                outcomes = read_outcomes(view)
    except BrokenError as error:
        raise VizError(f"{error}: residual-rl replay verify {shlex.quote(str(replay))}") from None
    except DatasetError as error:
        raise VizError(str(error)) from None
    except PermissionError as error:
        raise VizError(f"{error.filename} cannot be read: {error.strerror}") from None
    if not outcomes:
        raise VizError(f"{replay} has no episode yet: the first ones are written within a minute")
    return outcomes, read_repo_id(replay)


def choose_episode(outcomes: list[EpisodeOutcome], word: str) -> int:
    """The index of the episode that `word` names. Raises VizError: no such episode."""

    def goodness(outcome: EpisodeOutcome) -> tuple[bool, float, int]:
        return bool(outcome.success), outcome.total_reward or 0.0, -outcome.frames

    match word:
        case "last":
            return outcomes[-1].episode
        case "best":
            return max(outcomes, key=goodness).episode
        case "worst":
            return min(outcomes, key=goodness).episode
    if not word.isdecimal():
        raise VizError(f"episode must be a number, best, last or worst, got {word!r}")
    if int(word) >= len(outcomes):
        raise VizError(f"no episode {word}: the replay has episodes 0 to {len(outcomes) - 1}")
    return int(word)
