"""Verbs about clusters: submit, jobs."""

from pathlib import Path

import click

from launch.cli.verb import FilePath, Verb, overrides_argument


@click.command(
    cls=Verb,
    short_help="Hands a run to Slurm.",
    log_format="submit | %(message)s",
    examples={
        "submit cluster=slurm name=my-run cluster.partition=gpu": "",
        "submit cluster=slurm 'cluster.queues=[gpu,cpu]'": "to two queues: the first that starts is the run",
        "submit experiment=peg_scale_gpu --dry-run": "shows the script, and submits nothing",
    },
    keys={
        "name=my-run": "the folder under runs/; the run in a folder that exists goes on",
        "experiment=peg_scale_gpu": "a file of config/experiment: settings, and what they need of a cluster",
        "cluster.partition=gpu cluster.account=me": "where, and who pays",
        "cluster.time_min=240 cluster.cpus=8 cluster.memory_gb=16": "what the job gets",
        "cluster.gpus=1 learner.device=cuda": "trains on a GPU",
        "cluster.nodes=2": "the further nodes have actors",
    },
)
@overrides_argument()
@click.option("--dry-run", is_flag=True, help="Print the script and what is asked; submit nothing.")
def submit(overrides: tuple[str, ...], dry_run: bool) -> None:
    """Hands a run to Slurm, as one job with learner, actors and evaluator.

    It takes all keys of residual-rl run, and cluster.* as well. Before the job's time is over, or when
    another job takes its place, the run is stopped cleanly, queued again, and goes on. So it does when its
    node fails. What cannot run there is refused before anything is submitted.
    """
    from config.cluster import SlurmConfig
    from config.compose import compose_launch
    from config.process import UsageError

    launch = compose_launch(overrides)
    if not isinstance(launch.cluster, SlurmConfig):
        raise UsageError("submit hands a run to a cluster: add cluster=slurm, or use residual-rl run")
    from launch.cluster.submit import batch_of, show
    from launch.cluster.submit import submit as hand_over

    batch = batch_of(launch.run, launch.cluster, overrides)
    if dry_run:
        show(batch)
    else:
        hand_over(batch)
        click.echo("see residual-rl jobs; residual-rl jobs --logs ID; residual-rl jobs --cancel ID")


@click.command(
    cls=Verb,
    short_help="The jobs of runs on Slurm.",
    examples={
        "jobs": "state, node, frames and success of each",
        "jobs --logs 1234": "what job 1234 has written",
        "jobs --cancel 1234": "ends it; the run can be submitted again under the same name, and goes on",
    },
)
@click.argument("folder", type=FilePath(), default=Path("runs"))
@click.option("--cancel", metavar="ID", help="Cancel this job, or all jobs of this array.")
@click.option("--logs", metavar="ID", help="Print what this job has written.")
def jobs(folder: Path, cancel: str | None, logs: str | None) -> None:
    """A row for each job that was submitted for a run in FOLDER (default: runs)."""
    from launch.cluster.jobs import cancel_job, show_jobs, show_log

    if cancel and logs:
        raise click.UsageError("give --cancel or --logs, not both")
    if cancel:
        cancel_job(folder, cancel)
    elif logs:
        show_log(folder, logs)
    else:
        show_jobs(folder)


VERBS = (submit, jobs)
