"""Verbs about what others made or will use: export, push, evaluate-open-loop."""

import json
from pathlib import Path
from typing import Any

import click

from config.process import UsageError
from config.trust import trusting
from launch.cli.verb import TRUST, FilePath, RunName, SourcePath, Verb, overrides_argument

CHECKPOINT = click.option(
    "--checkpoint", default="best", show_default=True, metavar="best|newest|FILE",
    help="Which residual; best is the newest one where none was evaluated.",
)  # fmt: skip


@click.command(
    cls=Verb,
    short_help="A run's policy as a folder that LeRobot loads.",
    log_format="export | %(message)s",
    examples={
        "export my-run --to lerobot out/my-policy": "base and residual, for lerobot-eval and others",
        "export my-run --to lerobot out/base --base-alone": "for lerobot-train to go on with",
    },
    keys=TRUST,
)
@click.argument("run", type=RunName())
@click.argument("target", type=FilePath())
@overrides_argument()
@click.option("--to", "kind", required=True, type=click.Choice(["lerobot"]), help="What TARGET becomes.")
@CHECKPOINT
@click.option("--base-alone", is_flag=True, help="Without the residual.")
def export(
    run: str, target: Path, overrides: tuple[str, ...], kind: str, checkpoint: str, base_alone: bool
) -> None:
    """Writes the frozen base and the residual as one LeRobot policy, in the new folder TARGET.

    RUN is a name under runs/, or the path of a run's folder. Programs that load TARGET need LeRobot and the
    package plugins/lerobot_policy_residual_rl, and nothing else of this project.
    """
    from launch.share.lerobot_policy import export_policy
    from launch.share.run_source import shared_run

    shared = shared_run(run, checkpoint, overrides)
    with trusting(shared.config.trust_remote_code):
        export_policy(shared, target, base_alone=base_alone)
    click.echo(f"wrote {target}")


def _repository(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    owner, slash, name = value.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise click.BadParameter(f"{value!r} is no repository: give OWNER/NAME")
    return value


@click.command(
    cls=Verb,
    short_help="Policy, replay, base or report of a run to the Hugging Face Hub.",
    log_format="push | %(message)s",
    examples={
        "push my-run --what policy --to me/pick-cube --dry-run": "writes the folder that would go",
        "push my-run --what replay --to me/pick-cube-replay --private": "",
    },
    keys=TRUST,
)
@click.argument("run", type=RunName())
@overrides_argument()
@click.option("--what", required=True, type=click.Choice(["policy", "replay", "base", "report"]))
@click.option(
    "--to", "repo", required=True, metavar="OWNER/NAME", callback=_repository, help="The repository."
)
@CHECKPOINT
@click.option(
    "--dry-run", is_flag=True, help="Write the folder that would go into runs/RUN/push, and send nothing."
)
@click.option("--private", is_flag=True, help="Make the repository private, if it is new.")
@click.option("--license", "licence", default="apache-2.0", show_default=True, help="As the Hub names it.")
def push(
    run: str,
    overrides: tuple[str, ...],
    what: Any,
    repo: str,
    checkpoint: str,
    dry_run: bool,
    private: bool,
    licence: str,
) -> None:
    """Sends something of a run to a repository of the Hub, with a card that is made from the run.

    \b
    policy    what LeRobot loads, and the residual for residual-rl: a model
    base      the base alone: a model
    replay    all episodes, in LeRobot's format: a dataset
    report    the run's report as a page: a static Space

    The token is HF_TOKEN, from the environment or a .env file.
    """
    from launch.share import push as pushing
    from launch.share.run_source import shared_run

    shared = shared_run(run, checkpoint, overrides)
    with trusting(shared.config.trust_remote_code):
        if dry_run:
            click.echo(f"wrote {pushing.dry_run(shared, what, repo, licence)}, nothing was sent")
        else:
            click.echo(f"pushed to {pushing.push(shared, what, repo, licence, private=private)}")


@click.command(
    cls=Verb,
    name="evaluate-open-loop",
    short_help="A LeRobot policy's actions beside recorded ones.",
    log_format="open-loop | %(message)s",
    examples={
        "evaluate-open-loop out/my-policy runs/my-run/replay --episodes 20": "",
        "evaluate-open-loop wandb:me/project/pick_cube-base:best lerobot/pusht": "both may lie elsewhere",
    },
    keys=TRUST | {"learner.wandb.mode=online": "of --tracking wandb"},
)
@click.argument("policy", type=SourcePath())
@click.argument("dataset", type=SourcePath())
@overrides_argument()
@click.option(
    "--out", type=FilePath(), default="open_loop", show_default=True, help="Folder for figures and pictures."
)
@click.option("--episodes", type=click.IntRange(1), default=10, show_default=True, help="The first N.")
@click.option(
    "--horizon", type=click.IntRange(1), help="Actions of a plan to compare. Default: those it executes."
)
@click.option("--every", type=click.IntRange(1), help="Plan at each N-th frame. Default: the horizon.")
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--tracking",
    multiple=True,
    type=click.Choice(["wandb", "tensorboard", "trackio"]),
    help="May be repeated.",
)
def evaluate_open_loop(
    policy: Path,
    dataset: Path,
    overrides: tuple[str, ...],
    out: Path,
    episodes: int,
    horizon: int | None,
    every: int | None,
    device: str,
    tracking: tuple[Any, ...],
) -> None:
    """Lets a policy plan along recorded episodes and compares its plans with what was done.

    POLICY is a folder that LeRobot saved, or a name of the Hub, of any kind that LeRobot knows; DATASET a
    LeRobot dataset. Prints one JSON object: mean squared errors in all, of each action dimension and each
    step of a plan, smoothness (mean squared second difference, of both sides), and the largest error.
    """
    from config.compose import compose_config
    from learner.tracking.trackers import require_trackers

    if (out / "metrics.jsonl").exists() and tracking:
        raise UsageError(f"{out} is of a run, or was used before: name another --out")
    config = compose_config(overrides)
    wandb = config.learner.wandb
    require_trackers(tracking, wandb)
    from launch.open_loop.evaluate import evaluate_open_loop as run  # takes seconds
    from launch.open_loop.evaluate import track

    with trusting(config.trust_remote_code):
        result = run(
            f"{policy}", f"{dataset}", out, episodes=episodes, horizon=horizon, every=every, device=device
        )
    if tracking:
        track(result, out, tracking, wandb)
    click.echo(json.dumps(result))


VERBS = (export, push, evaluate_open_loop)
