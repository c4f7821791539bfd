"""Verbs that show a run: viz, monitor, plot."""

import re
from pathlib import Path

import click

from launch.cli.verb import FilePath, RunName, Verb

PATH = FilePath()
RUNS_FOLDER = "the run's folder"


@click.command(
    cls=Verb,
    short_help="An episode of a run in LeRobot's visualiser.",
    examples={
        "viz my-run": "the newest episode, in a window",
        "viz my-run best --save out": "writes out/..._episode_N.rrd, which rerun opens on any machine",
        "viz my-run 12 --mode distant": "serves it; the command that connects is printed",
        "viz my-run --all": "writes a page of all episodes and says where it is",
    },
    context_settings={"ignore_unknown_options": True},
)
@click.argument("run", type=RunName())
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[EPISODE]")
@click.option(
    "--save", type=PATH, is_flag=False, flag_value=RUNS_FOLDER, metavar="[DIR]",
    help="Write a .rrd file there, or to the run's folder; open no window.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Write a page of all episodes instead.")
def viz(run: str, words: tuple[str, ...], save: Path | None, every: bool) -> int:
    """Shows an episode of a run's replay in LeRobot's visualiser: curves, and pictures if it has any.

    Pictures need task.cameras, set before the run. RUN is a name under runs/, or the path of a run's folder.
    EPISODE is a number, best (a success with the most reward in the fewest frames), worst, or last (the
    default). It works while the run goes on: it sees what was committed to disk. Options that are not listed
    here go to lerobot-dataset-viz as they are.
    """
    from launch.run.folder import find_run
    from launch.show.viz import show_episode, show_overview

    run_dir = find_run(run)
    folder = run_dir if save == Path(RUNS_FOLDER) else save
    if every:
        show_overview(run_dir, folder or run_dir)
        return 0
    # A negative number is an episode too, which the replay does not have.
    episode = words[0] if words and not re.match("-(?![0-9])", words[0]) else None
    passed_on = words if episode is None else words[1:]
    return show_episode(run_dir, episode or "last", folder, list(passed_on))


@click.command(
    cls=Verb,
    short_help="A live table of a run.",
    examples={"monitor my-run": "", "monitor my-run --once": "for scripts"},
)
@click.argument("run", type=RunName())
@click.option("--once", is_flag=True, help="Show the table once and leave.")
@click.option("--wait", is_flag=True, help="For a run that starts: ignore an older summary.")
def monitor(run: str, once: bool, wait: bool) -> None:
    """A live table of a run: frames, success, losses, what it waits for. Ends with the run's summary.

    RUN is a name under runs/, or the path of a run's folder.
    """
    from launch.run.folder import find_run
    from launch.show.monitor import show

    show(find_run(run), once=once, wait=wait)


@click.command(
    cls=Verb,
    short_help="Success over frames, of runs or of a study, as a picture.",
    examples={
        "plot my-run --out curve.png": "",
        "plot one two --out curves.png": "several runs in one picture",
        "plot runs/study.jsonl --out study.png --settings default --x wall_s": "a study",
    },
)
@click.argument("sources", nargs=-1, required=True, type=RunName(), metavar="RUN... | STUDY.jsonl")
@click.option("--out", type=PATH, required=True, help="The picture to write: .png, .svg or .pdf.")
@click.option(
    "--settings",
    multiple=True,
    metavar="NAME",
    help="Of a study: only this one; may be repeated, in the order wanted.",
)
@click.option(
    "--x",
    type=click.Choice(["frames", "decisions", "wall_s"]),
    help="Of a study: the axis (default: frames).",
)
def plot(sources: tuple[str, ...], out: Path, settings: tuple[str, ...], x: str | None) -> None:
    """Success over frames as a picture: of runs, or of a study as mean and range over its seeds.

    RUN is a name under runs/, or the path of a run's folder.
    """
    from launch.show.figure import require_picture
    from launch.show.plot import plot_runs
    from launch.study.plot import plot_study

    require_picture(out)
    record, *others = sources
    if any(source.endswith(".jsonl") for source in sources):
        if others:
            raise click.UsageError("one STUDY.jsonl, or names of runs")
        plot_study(Path(record), out, settings, x or "frames")
    elif settings or x:
        raise click.UsageError("--settings and --x are for a STUDY.jsonl")
    else:
        plot_runs(sources, out)
    click.echo(f"wrote {out}")


VERBS = (viz, monitor, plot)
