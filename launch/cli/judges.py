"""Verbs that judge a policy, and make it better by what they find: evaluate, train-reward,
improve."""

import math
import re
from pathlib import Path

import click

from config.process import TIMED
from launch.cli.verb import (
    TRUST,
    ResidualPath,
    Verb,
    overrides_argument,
    single_name,
    split_words,
    words_argument,
)


class Seeds(click.ParamType):
    """`FIRST`, `FIRST:` or `FIRST:STOP`, as a Python slice: without STOP."""

    name = "seeds"

    def convert(
        self, value: str | tuple[int, int | None], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """(first seed, how many; None: not said)."""
        if isinstance(value, tuple):
            return value
        if (found := re.fullmatch(r"(\d{1,10})(?::(\d{1,10})?)?", value)) is None:
            self.fail(f"{value!r} is no FIRST: or FIRST:STOP, such as 1000000:1000200", param, ctx)
        first, count = int(found[1]), None if found[2] is None else int(found[2]) - int(found[1])
        if count is not None and count < 1:
            self.fail(f"{value!r} has no seeds: STOP must be above FIRST", param, ctx)
        return first, count


@click.command(
    cls=Verb,
    short_help="Success of a run, a checkpoint or a policy over fixed seeds.",
    log_format=TIMED,
    examples={
        "evaluate my-run --episodes 200 --seeds 2000000:": "a run's residual on seeds it never saw",
        "evaluate bases/mine": "a diffusion base, on the task that it was trained on",
        "evaluate someone/act_pick task=pick_cube": "a LeRobot policy, from a folder or the hub",
        "evaluate my-run --by obj_pose": "and where it fails: success by where the object starts",
    },
    keys={
        "task=stack_cube base.path=FOLDER": "without a name; task= also for a LeRobot policy",
        "learner.evaluation.num_envs=4": "sub-environments of each process",
        **TRUST,
    },
)
@words_argument("RUN")
@click.option("--episodes", type=click.IntRange(1), metavar="N", help="How many; default: 100.")
@click.option("--seeds", type=Seeds(), metavar="FIRST:[STOP]", help="Which; default: 1000000: and up.")
@click.option(
    "--at-least", "--bar", "bar", type=click.FloatRange(0, 1), metavar="SHARE",
    help="Exit code 1 if success is below.",
)  # fmt: skip
@click.option(
    "--residual", type=ResidualPath(exists=True, dir_okay=False),
    help="A residual's checkpoint. Default: with RUN its best, else its newest; without RUN none.",
)  # fmt: skip
@click.option("--base-alone", is_flag=True, help="Without the residual.")
@click.option(
    "--by", metavar="NAME|DIM[,...]",
    help="Success by the first observation too: names or dimensions of residual-rl inspect.",
)  # fmt: skip
@click.option("--processes", type=click.IntRange(1), metavar="N", help="Default: one for each processor.")
def evaluate(
    words: tuple[str, ...],
    episodes: int | None,
    seeds: tuple[int, int | None] | None,
    bar: float | None,
    residual: Path | None,
    base_alone: bool,
    by: str | None,
    processes: int | None,
) -> int:
    """Success over fixed seeds, in several processes: of a run, a checkpoint, a base or a LeRobot policy.

    RUN is a name under runs/, the path of a run's folder, a checkpoint of a run, the folder of a base,
    or a LeRobot policy (folder or hub id). Without it, key=value say which base plays.
    The last line is one JSON object, which is kept beside what was evaluated too.
    """
    from config.process import DONE, FAILED, stop_on_signals
    from launch.evaluation.subject import find_subject

    names, overrides = split_words(words)
    if bar is not None and math.isnan(bar):
        raise click.UsageError("--at-least nan is no number: give a share of 0 to 1")
    if base_alone and residual is not None:
        raise click.UsageError("--base-alone plays no residual: leave out --residual")
    first, count = seeds or (None, None)
    if count is not None and episodes is not None:
        raise click.UsageError("--seeds FIRST:STOP says how many episodes: leave out --episodes")
    subject = find_subject(single_name(names, "run"), overrides, residual, base_alone)
    stop = stop_on_signals()
    from launch.evaluation.evaluate import Asked, evaluate_and_report  # takes seconds

    asked = Asked(episodes=episodes or count, first_seed=first, processes=processes, by=by)
    success = evaluate_and_report(subject, asked, stop)
    if success is None:
        return stop.exit_code
    return FAILED if bar is not None and success < bar else DONE


@click.command(
    cls=Verb,
    short_help="Trains a classifier that says when an episode has succeeded.",
    log_format=TIMED,
    examples={
        "train-reward 'demos=[bases/PickCube-v1/demos.h5, runs/my-run/replay]' out=rewards/pick": "on states",
        "run task.success=classifier:rewards/pick": "a run whose episodes it ends and rewards",
    },
    keys={
        "demos=[FILE, runs/NAME/replay]": "labelled episodes: some succeed, and some should fail",
        "task=stack_cube": "a file of config/task",
        "out=rewards/pick": "the folder of the classifier",
        "precision=0.95": "how sure it must be: decides the threshold",
        "input=pictures task.cameras=[base_camera]": "LeRobot's classifier, on pictures",
        **TRUST,
    },
)
@overrides_argument("train_reward")
def train_reward(overrides: tuple[str, ...]) -> int:
    """Trains a classifier of success from the labels of demonstrations, datasets and replays.

    Batches have as many successful frames as others. Precision and recall are measured on episodes that were
    held out; the threshold is the lowest one that is precise enough. OUT gets classifier.json, the weights,
    report.json and report.png. A run uses it with task.success=classifier:OUT.
    """
    from config.process import DONE, stop_on_signals
    from config.train_reward import compose_reward_training

    asked = compose_reward_training(overrides)
    stop = stop_on_signals()
    from launch.show.reward_plot import plot_reward
    from learner.rewards.report import describe
    from learner.rewards.run import train_reward as train

    report = train(asked, stop)
    if report is None:
        return stop.exit_code
    plot_reward(report, asked.settings.folder / "report.png")
    for what, text in describe(report).items():
        click.echo(f"{what:<15} {text}")
    click.echo(f"task.success=classifier:{asked.settings.out}")
    return DONE


@click.command(
    cls=Verb,
    short_help="A better base in rounds: residual RL, collect, imitate, evaluate.",
    log_format=TIMED,
    examples={
        "improve task=pick_cube rounds=3 target=0.95": "from the base that comes along",
        "improve task=stack_cube name=stack base.path=bases/mine successes=500": "",
    },
    keys={
        "task=pick_cube base.path=FOLDER": "where it begins: a diffusion base",
        "rounds=3 target=0.95": "when it ends",
        "frames=120000 successes=300": "of each round: most frames of RL, successes that are collected",
        "'train=[preset=small, iterations=20000]'": "words of train-base for each new base",
        "actor.num_envs=12 learner.device=cuda": "all keys of run, for each of its runs",
    },
)
@overrides_argument("improve")
def improve(overrides: tuple[str, ...]) -> int:
    """Makes a base better in rounds, until it needs no residual.

    Each round trains a residual on the base, collects successes with the residual on, trains the next base on
    demonstrations and successes, and evaluates it alone, on seeds of its own. runs/NAME/rounds.md has a row
    for each round; round-1/residual, round-1/collect, ... are runs that every other verb opens.
    Stopped or killed, the same command goes on. Exit code 1: no base reached the target.
    """
    from config.improve import compose_improvement
    from config.process import stop_on_signals

    asked = compose_improvement(overrides)
    stop = stop_on_signals()
    from launch.improve.improve import improve as rounds

    return rounds(asked, stop)


VERBS = (evaluate, train_reward, improve)
