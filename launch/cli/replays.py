"""Verbs about replays on disk: replay verify, repair, info, export, merge."""

from pathlib import Path
from typing import Any

import click

from launch.cli.verb import FilePath, SourcePath, Verb, Verbs

PATH, SOURCE = FilePath(), SourcePath()


def _verb(*examples: str) -> Any:
    return replay.command(cls=Verb, examples=dict.fromkeys(examples, ""))


@click.group(cls=Verbs)
def replay() -> None:
    """Checks, mends and cuts replays on disk.

    PATH is a folder that contains meta/; of a run it is runs/NAME/replay. verify, repair and info take any
    LeRobot v3.0 dataset, the others those that a run wrote. Nothing but repair changes PATH.
    """


@_verb("replay verify runs/my-run/replay")
@click.argument("path", type=SOURCE)
def verify(path: Path) -> int:
    """Prints every problem, one a line. Exit code 1 if there is one, 2 if PATH is no dataset.

    At the end LeRobot's own reader opens it, without the network. A note is what LeRobot does not mind and
    training may.
    """
    from learner.replay.tools import command

    return command.verify_and_report(path)


@_verb("replay repair runs/my-run/replay")
@click.argument("path", type=PATH)
def repair(path: Path) -> int:
    """Mends a damaged dataset and says what was made anew, and what had to go.

    A replay of a run is cut to its longest whole prefix. Of any other dataset no frame is dropped: meta/ is
    made anew from the frames, or nothing is changed, with the reasons and exit code 1.
    """
    from learner.replay.tools import command

    return command.repair_and_report(path)


@_verb("replay info runs/my-run/replay")
@click.argument("path", type=SOURCE)
def info(path: Path) -> None:
    """Shows what is in a replay: episodes, success, sizes, columns."""
    from learner.replay.tools import command

    command.show_info(path)


@_verb("replay export runs/my-run/replay out/good --successes --after-version 40")
@click.argument("path", type=SOURCE)
@click.argument("target", type=PATH)
@click.option("--successes", is_flag=True, help="Only episodes with a success.")
@click.option(
    "--after-version", type=int, metavar="N", help="Only episodes that began with weights after version N."
)
@click.option("--actor", "actors", multiple=True, metavar="ID", help="Only of this actor; may be repeated.")
def export(
    path: Path, target: Path, successes: bool, after_version: int | None, actors: tuple[str, ...]
) -> None:
    """Writes some of the episodes, or all, as a new dataset in the folder TARGET."""
    from learner.replay.tools import command

    command.export_and_report(path, target, successes, after_version, actors)


@_verb("replay merge out/all runs/one/replay runs/two/replay")
@click.argument("target", type=PATH)
@click.argument("paths", type=SOURCE, nargs=-1, required=True, metavar="PATH...")
def merge(target: Path, paths: tuple[Path, ...]) -> None:
    """Writes the episodes of several replays as a new dataset in the folder TARGET."""
    from learner.replay.tools import command

    command.merge_and_report(paths, target)


VERBS = (replay,)
