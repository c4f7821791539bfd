"""Verbs that show runs: viz, monitor, runs, plot."""

import re
from pathlib import Path

import click

from launch.cli.pages import write
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
        "viz my-run --all": "writes the run's page, which lists all episodes (residual-rl report)",
    },
    context_settings={"ignore_unknown_options": True},
)
@click.argument("run", type=RunName())
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[EPISODE]")
@click.option(
    "--save", type=PATH, is_flag=False, flag_value=RUNS_FOLDER, metavar="[DIR]",
    help="Write a .rrd file there, or to the run's folder; open no window.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Write report.html instead, which lists all.")
def viz(run: str, words: tuple[str, ...], save: Path | None, every: bool) -> int:
    """Shows an episode of a run's replay in LeRobot's visualiser: curves, and pictures if it has any.

    Pictures need task.cameras, set before the run. RUN is a name under runs/, or the path of a run's folder.
    EPISODE is a number, best (a success with the most reward in the fewest frames), worst, or last (the
    default). It works while the run goes on: it sees what was committed to disk. Options that are not listed
    here go to lerobot-dataset-viz as they are.
    """
    from launch.run.folder import find_run
    from launch.show.viz import show_episode

    run_dir = find_run(run)
    folder = run_dir if save == Path(RUNS_FOLDER) else save
    if every:
        return write(run_dir, folder and folder / "report.html")
    # A negative number is an episode too, which the replay does not have.
    episode = words[0] if words and not re.match("-(?![0-9])", words[0]) else None
    passed_on = words if episode is None else words[1:]
    return show_episode(run_dir, episode or "last", folder, list(passed_on))


@click.command(
    cls=Verb,
    short_help="What a run is doing, live.",
    examples={
        "monitor my-run": "",
        "monitor": "the run under runs/ that was started last",
        "monitor my-run --once --json": "for scripts",
    },
)
@click.argument("run", type=RunName(), required=False)
@click.option("--once", is_flag=True, help="Show it once and leave.")
@click.option("--json", "as_json", is_flag=True, help="With --once: everything as one JSON object.")
def monitor(run: str | None, once: bool, as_json: bool) -> None:
    """Shows what a run is doing: success, progress, actors, who waits for whom, replay, disk, warnings, logs.

    Keys: l shows all logs, s stops the run as Ctrl-C would (asks first), q leaves and lets the run go on. It
    reads the run's folder alone. Where the output is no terminal, a line appears for each new point until the
    run ends. RUN is a name under runs/, or the path of a run's folder.
    """
    from launch.run.folder import find_run
    from launch.show.monitor.show import newest_run, show, show_once

    if as_json and not once:
        raise click.UsageError("--json goes with --once")
    run_dir = newest_run() if run is None else find_run(run)
    if once:
        show_once(run_dir, as_json)
    else:
        show(run_dir)


@click.command(
    cls=Verb,
    short_help="A row for each run: success, frames, minutes, settings.",
    examples={
        "runs": "all under runs/",
        "runs --csv > runs.csv": "",
        "runs elsewhere/runs": "another folder of runs",
    },
)
@click.argument("folder", type=PATH, default=Path("runs"))
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, all columns.")
def runs(folder: Path, as_csv: bool) -> None:
    """A row for each run in FOLDER (default: runs), and for each run of its studies; oldest first.

    It has the start, name, state, task, algo, seed, success of the base and at the end with its 95 % interval
    (Wilson), frames, minutes, what differs from the defaults, the W&B id and the commit. A run that has not
    finished has its newest figures. What cannot be read is a line on standard error.
    """
    from launch.show.table.show import show_runs

    show_runs(folder, as_csv)


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


VERBS = (viz, monitor, runs, plot)
