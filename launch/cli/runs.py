"""Verbs that train: run, study, learner, actor."""

from pathlib import Path

import click

from config.process import TIMED
from launch.cli.verb import (
    TRUST,
    FilePath,
    Verb,
    overrides_argument,
    single_name,
    split_words,
    words_argument,
)

PORTS = {"wire.experience_port=6588 wire.weights_port=6589": "ports, for a second run on this machine"}


@click.command(
    cls=Verb,
    short_help="One run on this machine or on Ray, from start to summary.",
    log_format="launch    | %(message)s",
    examples={
        "run": "PickCube with the base that comes along",
        "run name=second task=stack_cube seed=1 learner.total_frames=50000": "",
        "run cluster=ray cluster.actors=16": "on the nodes of a Ray cluster: docs/how-to/ray.md",
    },
    keys={
        "name=my-run": "the folder under runs/; with a folder that exists, the run in it goes on (resume=)",
        "task=stack_cube base=diffusion algo=residual_td3": "files in config/task, config/base, config/algo",
        "experiment=recipes": "a file of config/experiment, which sets other keys",
        "learner.total_frames=20000": "latest end; learner.stop_at: when success is enough (null: never)",
        "actor.count=4 actor.num_envs=24": "actor processes, and simulators of each",
        **PORTS,
        "learner.device=cuda": "trains on a GPU; to simulate there too: docs/how-to/gpu.md",
        **TRUST,
    },
)
@overrides_argument()
@click.option("--config", "file", type=FilePath(), hidden=True)
@click.option("--print-config", is_flag=True, help="Print the configuration as YAML and leave.")
def run(overrides: tuple[str, ...], file: Path | None, print_config: bool) -> int:
    """One run on this machine, from start to summary: a learner, its actors, an evaluator.

    In a terminal with tmux the run lives in a tmux session: a monitor, and below it the lines of all its
    processes. Ctrl-C ends the run, Ctrl-B D leaves it running. Elsewhere the lines alone appear.
    """
    from config.cluster import LocalConfig, RayConfig, SlurmConfig
    from config.compose import asked_config, compose_launch, config_text

    if file is None:
        asked = compose_launch(overrides)
        config, cluster = asked.run, asked.cluster
    else:
        config, cluster = asked_config([*overrides, "--config", str(file)]), LocalConfig()
    if print_config:
        click.echo(config_text(config), nl=False)
        return 0
    match cluster:
        case RayConfig():
            from launch.cluster.on_ray.limits import require_ray

            require_ray()
            from launch.cluster.on_ray.run import launch_on_ray

            return launch_on_ray(config, cluster)
        case SlurmConfig():
            raise click.UsageError(
                "run starts a run on this machine or on Ray; for Slurm: residual-rl submit cluster=slurm"
            )
        case _:
            from launch.run.launcher import launch

            return launch(config)


@click.command(
    cls=Verb,
    short_help="Settings x tasks x seeds, one run after the other or as jobs.",
    log_format=TIMED,
    examples={
        "study 'seeds=[0,1,2]' 'settings={default: [], published: [algo=policy_decorator]}'": "",
        "study my-study.yaml": "the same keys from a file",
        "study experiment=recipes cluster.at_once=8": "a file of config/experiment, as jobs of Slurm",
    },
    keys={
        "budget_min=120": "minutes for the whole study",
        "tasks=[pick_cube] seeds=[0,1,2]": "files in config/task; training seeds",
        "settings={NAME: [KEY=VALUE, ...]}": "what is compared",
        "common=[learner.total_frames=100000]": "for every run",
        "cluster=slurm cluster.partition=gpu": "each run is a job; keys as for submit",
    },
)
@words_argument("FILE", section="study")
def study(words: tuple[str, ...]) -> int:
    """Runs settings x tasks x seeds one after the other, unattended and within a budget.

    Every run adds a line with its curves to runs/study.jsonl and a row to runs/study.md, failed runs too. A
    run that is in the record already, for the same code, is not repeated. Ctrl-C ends the run and the study.
    With cluster=slurm all runs are submitted at once, and their rows are added as they end. There Ctrl-C ends
    the waiting alone: the same command goes on with it.
    """
    from config.cluster import SlurmConfig
    from config.process import stop_on_signals
    from launch.study.study import cluster_of, read_study, run_study

    study = read_study(words)
    cluster = cluster_of(study)
    if isinstance(cluster, SlurmConfig):
        from launch.cluster.study import submit_study

        return submit_study(study, cluster, stop_on_signals())
    return run_study(study, stop_on_signals())


@click.command(
    cls=Verb,
    keeps_traces=True,
    short_help="The learner alone.",
    log_format=TIMED,
    examples={"learner name=my-run wire.host=0.0.0.0 wire.keys_dir=keys": "for actors on other hosts"},
    keys={"name=my-run": "the folder under runs/", **PORTS, "learner.device=cuda": "trains on a GPU"},
)
@overrides_argument()
def learner(overrides: tuple[str, ...]) -> None:
    """The learner alone: receives experience, trains, publishes weights. `residual-rl run` starts it too."""
    from config.compose import compose_config
    from config.process import stop_on_signals
    from config.trust import trusting

    config = compose_config(overrides)
    from learner.run import run_learner

    with trusting(config.trust_remote_code):
        run_learner(config, stop_on_signals())


@click.command(
    cls=Verb,
    keeps_traces=True,
    short_help="One actor, for a learner here or on another host.",
    log_format=TIMED,
    examples={
        "actor tcp://192.0.2.7:5588 --keys keys": "for a learner on another host",
        "actor tcp://127.0.0.1:5588 actor.num_envs=16": "through an SSH tunnel, with more simulators",
        "actor name=my-run actor.index=2": "for a learner on this host",
    },
    keys={
        "actor.num_envs=16": "simulators of this actor",
        "actor.id=second actor.index=2": "a second actor on the same host",
        "base.path=FOLDER": "where this host keeps the base, if not where the learner does",
        **TRUST,
    },
)
@words_argument("tcp://HOST:PORT")
@click.option("--keys", type=FilePath(), help="Folder with this host's keys.")
def actor(words: tuple[str, ...], keys: Path | None) -> None:
    """One actor: simulates with the newest weights and sends its experience.

    With the address of a learner it gets task, base and algo from there; only keys of this host may be set.
    PORT is the learner's experience port; its weights port is the next one, unless wire.weights_port says
    otherwise.
    """
    from config.process import stop_on_signals

    names, overrides = split_words(words)
    address = single_name(names, "address")
    if address is not None:
        from actor.remote import run_remote_actor

        run_remote_actor(address, keys, overrides, stop_on_signals())
    elif keys is not None:
        raise click.UsageError("--keys belongs to an address; without one, set wire.keys_dir=FOLDER")
    else:
        from config.compose import compose_config
        from config.trust import trusting

        config = compose_config(overrides)
        from actor.loop import run_actor
        from actor.malloc import keep_freed_memory

        keep_freed_memory()
        with trusting(config.trust_remote_code):
            run_actor(config, stop_on_signals())


VERBS = (run, study, learner, actor)
