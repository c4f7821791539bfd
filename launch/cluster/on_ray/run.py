"""One run on a Ray cluster, supervised from here: what `residual-rl run cluster=ray` does."""

import functools
import logging
import sys

from config.cluster import RayConfig
from config.main import Config
from config.process import StopRequest, stop_on_signals
from launch.cluster.on_ray.limits import require_keys, require_room
from launch.cluster.on_ray.node import Home, Node, for_nodes, shown
from launch.cluster.on_ray.session import joined, living_nodes, seeing
from launch.cluster.on_ray.team import RayTeam
from launch.run.inputs import on_other_hosts, require_inputs
from launch.run.launcher import note_machine, run_here, sole_launcher, write_launch_file
from launch.run.startable import require_files, require_settings, with_played, with_sizes

log = logging.getLogger("launch")


def launch_on_ray(config: Config, cluster: RayConfig) -> int:
    """One run; returns its exit code, as `launch.run.launcher.launch` does.
    Raises UsageError: it cannot be started like this."""
    require_keys(config, cluster)
    config = for_nodes(config, cluster)
    require_settings(config)
    config = with_played(with_sizes(config))
    require_files(config)
    require_inputs(on_other_hosts(config), StopRequest())
    with joined(cluster), sole_launcher(config):
        stop = stop_on_signals()  # Ray sets handlers of its own
        nodes = living_nodes()
        require_room(cluster, nodes)
        launch_file = write_launch_file(config)
        note_machine(config, sys.argv[1:])
        with shown(config) as home:
            of_learner = seeing(nodes, home, cluster.answer_s, strict=True)
            _say(nodes, of_learner, home)
            make_team = functools.partial(
                RayTeam, cluster=cluster, config=config, launch_file=launch_file, home=home, seeing=of_learner
            )
            return run_here(config, launch_file, stop, make_team)


def _say(nodes: list[Node], of_learner: list[Node], home: Home) -> None:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    log.info(
        "Ray cluster: %d node(s) with %g CPUs and %g GPUs; the run's folder is seen by %d",
        len(nodes), cpus, gpus, len(of_learner),
    )  # fmt: skip
    if len(nodes) > 1 and len(of_learner) == 1:
        log.warning(
            "only node %s sees %s: with it the learner is lost; a runs_dir that all nodes see lets it go on "
            "elsewhere", of_learner[0].address, home.run_dir,
        )  # fmt: skip
