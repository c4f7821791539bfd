"""A run in LeRobot's visualiser: python -m launch.show.viz RUN [EPISODE] [--save [DIR]] | RUN --all"""

import argparse
import itertools
import logging
import os
import shlex
import subprocess
from pathlib import Path

import pyarrow as pa

from config.process import run_main
from launch.run.folder import find_run
from launch.show.overview import write_overview
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import open_snapshot
from learner.replay.tools.outcomes import EpisodeOutcome, read_outcomes, read_repo_id
from learner.replay.tools.visualiser import visualiser_command

log = logging.getLogger("viz")

EPILOG = """
examples:
  bash launch/viz.sh my-run                       the newest episode, in a window
  bash launch/viz.sh my-run best --save out       writes out/<repo id>_episode_<n>.rrd, no window needed
  bash launch/viz.sh my-run worst --save          the same into the run's folder
  bash launch/viz.sh my-run 12 --mode distant     serves it; the command that connects is printed
  bash launch/viz.sh my-run --all                 writes a page of all episodes, says where it is

Works while the run goes on: it sees what was committed to disk. Options that are not listed here go to
lerobot-dataset-viz as they are.
"""


# The value of `--save` without a folder: no path that anybody could name.
_RUNS_FOLDER = Path("\0")


class VizError(Exception):
    """What cannot be shown, and why, in one line."""


def main(argv: list[str]) -> int:
    """The command line; returns the exit code, or becomes the visualiser."""
    args, passed_on = make_parser().parse_known_args(argv)
    run_dir = find_run(args.run)
    folder = run_dir if args.save == _RUNS_FOLDER else args.save
    if args.all:
        log.info("%s", make_overview(run_dir, folder or run_dir))
        return 0
    command = make_command(run_dir, args.episode, folder, passed_on)
    log.info("%s", shlex.join(command))
    # Everything is on this disk: a file that is missing must not become a question to the Hub.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if folder is None:
        os.execvpe(command[0], command, environment)
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        log.info(
            "%s: open it with rerun, on any machine (pip install rerun-sdk)", saved_file(folder, command)
        )
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bash launch/viz.sh",
        description="Shows an episode of a run's replay in LeRobot's visualiser.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", help="name of a run under runs/, or its folder")
    parser.add_argument(
        "episode", nargs="?", default="last",
        help="a number, best (a success with the most reward in the fewest frames), worst, or last (default)",
    )  # fmt: skip
    parser.add_argument(
        "--save", nargs="?", type=Path, const=_RUNS_FOLDER, metavar="DIR",
        help="write a .rrd file there, or to the run's folder; open no window",
    )  # fmt: skip
    parser.add_argument(
        "--all", action="store_true", help="write a page of all episodes (to the run's folder, or --save DIR)"
    )
    return parser


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
    """What the visualiser writes when it is called so."""
    words = dict(itertools.pairwise(command))
    return folder / f"{words['--repo-id'].replace('/', '_')}_episode_{words['--episode-index']}.rrd"


def make_overview(run_dir: Path, folder: Path) -> Path:
    """Write the page of all episodes; returns where it is.
    Raises VizError: there is no such run or episode."""
    outcomes, _ = read_replay(run_dir)
    path = folder / "episodes.html"
    return write_overview(path, f"Episodes of {run_dir.name}", run_dir.name, outcomes)


def read_replay(run_dir: Path) -> tuple[list[EpisodeOutcome], str]:
    """The episodes of a run's replay, and its repo id.
    Raises VizError: there is no such run, or no episode yet."""
    replay = run_dir / "replay"
    if not run_dir.is_dir():
        raise VizError(f"no run {run_dir}: name a folder under runs/")
    if not replay.exists():
        raise VizError(f"{replay} holds no episode yet: the first ones are written within a minute")
    try:
        with open_snapshot(replay) as view:
            return read_outcomes(view), read_repo_id(replay)
    except DatasetError as error:
        raise VizError(str(error)) from None
    except pa.ArrowException as error:
        raise VizError(
            f"{replay} is damaged ({str(error).splitlines()[0]}): python -m learner.replay verify {replay}"
        ) from None


def choose_episode(outcomes: list[EpisodeOutcome], word: str) -> int:
    """The index of the episode that `word` means. Raises VizError: no such episode."""

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
        raise VizError(f"no episode {word}: the replay holds 0 .. {len(outcomes) - 1}")
    return int(word)


if __name__ == "__main__":
    run_main(main, VizError)
