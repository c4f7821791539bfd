"""Verbs that show runs on a page: report, page, compare."""

import os
from pathlib import Path

import click

from launch.cli.verb import FilePath, RunName, Verb

PATH = FilePath()
# Whatever shows a run yields to it.
LOWEST_PRIORITY = 19


@click.command(
    cls=Verb,
    short_help="A run's page as one file, report.html.",
    examples={
        "report my-run": "writes runs/my-run/report.html",
        "report my-run --out elsewhere.html": "",
        "report my-run --follow": "after each evaluation, until the run ends",
    },
)
@click.argument("run", type=RunName())
@click.option("--out", type=PATH, help="The file to write. Default: report.html in the run's folder.")
@click.option("--follow", is_flag=True, help="Write it after each evaluation, until the run ends.")
def report(run: str, out: Path | None, follow: bool) -> int:
    """Writes a run's page as one file, which needs neither a server nor a network.

    Success of base and residual with intervals, curves, actors, all episodes, settings, commands.
    RUN is a name under runs/, or the path of a run's folder. `residual-rl run` writes it by itself.
    """
    from config.process import stop_on_signals
    from launch.run.folder import find_run

    run_dir = find_run(run)
    if not follow:
        return write(run_dir, out)
    if out is not None:
        raise click.UsageError("--out does not go with --follow, which writes to the run's folder")
    stop = stop_on_signals()
    os.nice(LOWEST_PRIORITY)
    from launch.run.folder import require_run
    from launch.show.page.report import keep_report

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
    from launch.run.folder import require_run
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


def write(run_dir: Path, out: Path | None) -> int:
    """Write the page of a run and say where it is."""
    from launch.run.folder import require_run
    from launch.show.page.report import write_report

    require_run(run_dir)
    click.echo(f"wrote {write_report(run_dir, out)}")
    return 0


VERBS = (report, page, compare)
