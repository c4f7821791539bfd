"""Verbs about bases and tasks: demos, train-base, inspect, convert."""

from pathlib import Path

import click

from config.process import TIMED
from launch.cli.verb import FilePath, SourcePath, Verb, Words, overrides_argument

PATH = FilePath()
PLANNED = "demos/PushCube-v1/planned.state.pd_ee_delta_pose.physx_cpu.h5"


@click.command(
    cls=Verb,
    short_help="Demonstrations of a task, planned, scripted or downloaded.",
    log_format="demos | %(message)s",
    examples={
        "demos task=PushCube-v1 episodes=300": "writes demos/PushCube-v1",
        "demos task=StackCube-v1 episodes=400 noise=0.15": "records the way back from pushes on the arm",
        "demos source=download lerobot=true": "ManiSkill's own, as a LeRobot dataset too",
        "demos task=fetch_push episodes=100": "of a scripted expert",
        "demos task=StackCube-v1 'cameras=[base_camera]'": "with pictures, as a LeRobot dataset",
    },
    keys={
        "task=PushCube-v1": "id of a task that has a planner or an expert, or its file in config/task",
        "episodes=300": "demonstrations wanted",
        "noise=0.15": "pushes on the arm: policies trained on the result are far steadier",
        "cameras=[base_camera]": "a LeRobot dataset with the pictures of these cameras",
    },
)
@overrides_argument("demos")
def demos(overrides: tuple[str, ...]) -> None:
    """Plans demonstrations with ManiSkill's motion planner, or downloads ManiSkill's own.
    In tasks of Fetch a scripted expert plays.

    They come with state observations and actions of the control mode asked for. The planner needs packages
    of its own: the first call makes .venv-demos. Stopped, the same command goes on with what is missing.
    """
    from config.demos import compose_demos

    config = compose_demos(overrides)
    from launch.demos.start import make_demos

    make_demos(config)


@click.command(
    cls=Verb,
    keeps_traces=True,
    short_help="Trains a diffusion base on demonstrations.",
    log_format=TIMED,
    examples={
        "train-base task=PushCube-v1 preset=small": "on demos/PushCube-v1, for processors",
        "train-base task=StackCube-v1 preset=small demos=mine.h5 out=bases/mine": "",
    },
    keys={
        "task=PushCube-v1": "the id of the task, or its file in config/task",
        "preset=small": "for processors; the default, preset=published, wants a GPU",
        "demos=FILE": "ManiSkill h5 with state observations, LeRobot dataset (folder or hub id), or a list",
        "out=FOLDER": "the new base: give it to run as base.path=FOLDER",
        "iterations=20000 device=cuda": "how long it trains, and on which torch device",
    },
)
@overrides_argument("train_base")
def train_base(overrides: tuple[str, ...]) -> None:
    """Trains a diffusion base on demonstrations and evaluates it; checkpoints/best.pt is the best.

    Stopped, the same command goes on from its last checkpoint.
    """
    from config.process import stop_on_signals
    from config.train_base import compose_training

    config = compose_training(overrides)
    from learner.base_training.run import train_base as train

    train(config, stop_on_signals())


@click.command(
    cls=Verb,
    short_help="What each dimension of a task's observation means.",
    examples={
        "inspect task=stack_cube": "",
        "inspect task.env_id=PushCube-v1": "a task that no file of config/task describes",
    },
    keys={
        "task=stack_cube task.env_id=PushCube-v1": "the task",
        "algo.relations=[...]": "which place the residual sees from which other (config/relation.py)",
    },
)
@overrides_argument()
def inspect(overrides: tuple[str, ...]) -> None:
    """Shows the parts of a task's observation by name and index, and the value of each relation in metres.

    It builds one simulator. algo.relations and evaluate --by take the names; base.observation and
    learner.robot_state_dim take indices.
    """
    from config.compose import compose_config

    config = compose_config(overrides)
    from rich.console import Console

    from actor.simulators.inspect import show

    show(config, Console())


@click.command(
    cls=Verb,
    short_help="Converts checkpoints and files of demonstrations.",
    examples={
        "convert runs/mine/checkpoints/newest.safetensors theirs.pt --to published": "for the published code",
        "convert published.pt ours.safetensors --to residual algo=policy_decorator": "and back",
        f"convert {PLANNED} out --to lerobot": "demonstrations as a LeRobot dataset",
        f"convert {PLANNED} some.h5 --to h5": "what training needs of them",
    },
    keys={"algo=policy_decorator": "for --to residual: how its networks are built"},
)
@click.argument("source", type=SourcePath())
@click.argument("target", type=PATH)
@click.argument("overrides", nargs=-1, type=Words(), metavar="[KEY=VALUE]...")
@click.option(
    "--to", "kind", required=True, type=click.Choice(["published", "residual", "lerobot", "h5"]),
    help="What TARGET becomes.",
)  # fmt: skip
@click.option("--episodes", type=click.IntRange(1), help="For h5: the first N alone.")
@click.option(
    "--without-success", type=click.Choice(["refuse", "last_frame"]), default="refuse", show_default=True,
    help="Demonstrations that mark no successful frames: refuse them, or count each one's last frame.",
)  # fmt: skip
def convert(
    source: Path,
    target: Path,
    overrides: tuple[str, ...],
    kind: str,
    episodes: int | None,
    without_success: str,
) -> None:
    """Converts a residual's checkpoint, or a file of demonstrations.

    \b
    published   ours -> Policy Decorator's layout
    residual    Policy Decorator's layout -> ours
    lerobot     demonstrations -> LeRobot v3.0 dataset with reward, done and success
    h5          demonstrations -> a small ManiSkill h5: only state, actions and success, each
                episode cut at its first success

    Demonstrations are a ManiSkill h5 or a LeRobot dataset.
    """
    if overrides and kind != "residual":
        raise click.UsageError(f"--to {kind} takes no key=value")
    if episodes is not None and kind != "h5":
        raise click.UsageError(f"--to {kind} takes no --episodes")
    if without_success != "refuse" and kind not in ("lerobot", "h5"):
        raise click.UsageError(f"--to {kind} takes no --without-success")
    match kind:
        case "published":
            from learner.checkpoints.policy_decorator import export_file

            export_file(source, target)
        case "residual":
            from config.compose import compose_recipe

            algo = compose_recipe(overrides)
            from learner.checkpoints.policy_decorator import import_file

            import_file(source, target, algo)
        case "lerobot":
            from launch.demos.files import to_lerobot

            to_lerobot(source, target, last_frame_succeeds=without_success == "last_frame")
        case _:
            from launch.demos.files import pack

            pack(source, target, episodes, last_frame_succeeds=without_success == "last_frame")
    click.echo(f"wrote {target}")


VERBS = (demos, train_base, inspect, convert)
