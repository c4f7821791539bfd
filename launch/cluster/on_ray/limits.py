"""Whether a Ray cluster can run what is asked, before anything is started. Imports no Ray."""

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

from config.cluster import RayConfig
from config.main import Config
from config.process import UsageError
from launch.cluster.on_ray.node import Node

_INSTALL = "bash launch/setup_env.sh ray"


class Need(NamedTuple):
    """What a process of a run takes of its node."""

    cpus: float
    gpus: float

    def fits(self, node: Node) -> bool:
        return self.cpus <= node.cpus and self.gpus <= node.gpus


def require_ray() -> None:
    """Raise UsageError if Ray is not installed here."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"cluster=ray needs Ray, which is not installed: {_INSTALL}")


def require_keys(config: Config, cluster: RayConfig) -> None:
    """Raise UsageError for keys that contradict each other, or that a run on Ray sets itself."""
    wire = config.wire
    if wire.keys_dir is not None:
        raise UsageError(
            f"wire.keys_dir={wire.keys_dir}: a run on Ray makes its own keys: leave it out with cluster=ray"
        )
    wanted = {
        "learner.device": (config.learner.device, "learner"), "actor.device": (config.actor.device, "actor"),
        "actor.backend": (config.actor.backend, "actor"),
    }  # fmt: skip
    for key, (value, role) in wanted.items():
        if "cuda" in value and not getattr(cluster, f"{role}_gpus"):
            raise UsageError(f"{key}={value} needs a GPU: set cluster.{role}_gpus=1, or {key} without cuda")
    if "cuda" in config.actor.device and not cluster.evaluator_gpus:
        raise UsageError(
            f"actor.device={config.actor.device} is the evaluator's too: set cluster.evaluator_gpus as well"
        )


def needs_of(cluster: RayConfig) -> dict[str, Need]:
    """Of a process of each role."""
    return {
        "learner": Need(cluster.learner_cpus, cluster.learner_gpus),
        "actor": Need(cluster.actor_cpus, cluster.actor_gpus),
        "evaluator": Need(cluster.evaluator_cpus, cluster.evaluator_gpus),
    }


def total_of(cluster: RayConfig) -> Need:
    """Of the whole run."""
    needs = [*needs_of(cluster).values(), *[needs_of(cluster)["actor"]] * (cluster.actors - 1)]
    return Need(sum(need.cpus for need in needs), sum(need.gpus for need in needs))


def require_room(cluster: RayConfig, nodes: Sequence[Node]) -> None:
    """Raise UsageError if the cluster is too small, even with nothing else on it."""
    total = total_of(cluster)
    has = Need(sum(node.cpus for node in nodes), sum(node.gpus for node in nodes))
    if (total.cpus > has.cpus or total.gpus > has.gpus) and not cluster.grows:
        raise UsageError(
            f"{cluster.actors} actors, a learner and an evaluator ask for {_said(total)}, the cluster has "
            f"{_said(has)}: lower cluster.actors or what each takes (cluster.actor_cpus, ...), add nodes, or "
            "set cluster.grows=true if it adds them by itself"
        )
    for role, need in needs_of(cluster).items():
        if not any(need.fits(node) for node in nodes) and not cluster.grows:
            raise UsageError(
                f"no node has {_said(need)} for the {role}: lower cluster.{role}_cpus or cluster.{role}_gpus"
            )


def _said(need: Need) -> str:
    return f"{need.cpus:g} CPUs and {need.gpus:g} GPUs"
