"""Verbs that show runs: viz, monitor, report, page, compare, plot."""

import os
from pathlib import Path

import click

from launch.cli.verb import RunName, Verb

PATH = click.Path(path_type=Path)
RUNS_FOLDER = "the run's folder"
# Whatever shows a run yields to it.
LOWEST_PRIORITY = 19


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
    "--save", type=click.Path(), is_flag=False, flag_value=RUNS_FOLDER, metavar="[DIR]",
    help="Write a .rrd file there, or to the run's folder; open no window.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Write report.html instead, which lists all.")
def viz(run: str, words: tuple[str, ...], save: str | None, every: bool) -> int:
    """Shows an episode of a run's replay in LeRobot's visualiser: curves, and pictures if it has any.

    Pictures need task.cameras, set before the run. RUN is a name under runs/, or the path of a run's folder.
    EPISODE is a number, best (a success with the most reward in the fewest frames), worst, or last (the
    default). It works while the run goes on: it sees what was committed to disk. Options that are not listed
    here go to lerobot-dataset-viz as they are.
    """
    from launch.run.folder import find_run
    from launch.show.viz import show_episode

    run_dir = find_run(run)
    folder = run_dir if save == RUNS_FOLDER else None if save is None else Path(save)
    if every:
        return _write_report(run_dir, folder and folder / "report.html")
    episode = words[0] if words and not words[0].startswith("-") else None
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


@click.command(
    cls=Verb,
    short_help="A run's page as one file, report.html.",
    examples={
        "report my-run": "writes runs/my-run/report.html",
        "report my-run --out elsewhere.html": "",
        "report my-run --follow": "after each evaluation, until the run is over",
    },
)
@click.argument("run", type=RunName())
@click.option("--out", type=PATH, help="The file to write. Default: report.html in the run's folder.")
@click.option("--follow", is_flag=True, help="Write it after each evaluation, until the run is over.")
def report(run: str, out: Path | None, follow: bool) -> int:
    """Writes a run's page as one file, which needs neither a server nor a network.

    Success of base and residual with intervals, curves, actors, all episodes, settings, commands.
    RUN is a name under runs/, or the path of a run's folder. `residual-rl run` writes it by itself.
    """
    from config.process import stop_on_signals
    from launch.run.folder import find_run

    run_dir = find_run(run)
    if not follow:
        return _write_report(run_dir, out)
    if out is not None:
        raise click.UsageError("--out does not go with --follow, which writes to the run's folder")
    stop = stop_on_signals()
    os.nice(LOWEST_PRIORITY)
    from launch.show.page.report import keep_report, require_run

    require_run(run_dir)
    keep_report(run_dir, stop)
    return stop.exit_code if stop.is_set() else 0


@click.command(
    cls=Verb,
    short_help="A run's page, live in a browser.",
    examples={
        "page my-run": "at http://127.0.0.1:8765/, or at the next free port",
        "page my-run --host 0.0.0.0": "for other hosts, with the token that is printed",
    },
)
@click.argument("run", type=RunName())
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Or the next free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--with-run", is_flag=True, help="Write report.html too, and end with the run.")
def page(run: str, port: int, host: str, with_run: bool) -> int:
    """Serves a run's page: what `report` shows, with figures that are never older than a few seconds.

    It reads the run's folder alone, at the lowest priority and only while a browser looks. Ending it changes
    nothing of the run. /healthz says that it lives, /metrics has the newest figures for Prometheus.
    RUN is a name under runs/, or the path of a run's folder. `residual-rl run` starts a page by itself
    (page.port).
    """
    from config.process import stop_on_signals
    from launch.run.folder import find_run

    stop = stop_on_signals()
    os.nice(LOWEST_PRIORITY)
    from launch.show.page.report import require_run
    from launch.show.page.server import serve

    run_dir = find_run(run)
    require_run(run_dir)
    serve(run_dir, host, port, stop, reports=with_run)
    return stop.exit_code if stop.is_set() else 0


@click.command(
    cls=Verb,
    short_help="Several runs on one page.",
    examples={
        "compare one two": "writes runs/compare.html",
        "compare a-0 a-1 b-0 b-1 --by settings": "mean and interval over runs that differ in their seeds",
        "compare one two three --by algo.name --out page.html": "",
    },
)
@click.argument("runs", nargs=-1, required=True, type=RunName(), metavar="RUN RUN...")
@click.option("--by", metavar="settings | KEY", help="Runs that are alike in this are one group.")
@click.option(
    "--out", type=PATH, help="The file to write. Default: compare.html beside the first run's folder."
)
def compare(runs: tuple[str, ...], by: str | None, out: Path | None) -> None:
    """Writes several runs on one page: curves over each other, frames and minutes to levels of success,
    settings in which they differ.

    RUN is a name under runs/, or the path of a run's folder.
    """
    from launch.run.folder import find_run
    from launch.show.page.comparison import write_comparison

    if len(runs) < 2:
        raise click.UsageError("name at least two runs; of one, residual-rl report writes the page")
    folders = [find_run(run) for run in runs]
    click.echo(f"wrote {write_comparison(folders, by, out or folders[0].parent / 'compare.html')}")


def _write_report(run_dir: Path, out: Path | None) -> int:
    from launch.show.page.report import require_run, write_report

    require_run(run_dir)
    click.echo(f"wrote {write_report(run_dir, out)}")
    return 0


VERBS = (viz, monitor, report, page, compare, plot)
