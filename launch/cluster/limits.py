"""Whether a cluster can run what is asked, before anything is submitted."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from config.cluster import Queue, SlurmConfig
from config.main import Config
from config.process import UsageError
from launch.cluster.slurm import Node

# Kinds of file system that other hosts never see, or see only if somebody exports them.
_OF_MEMORY = ("overlay", "ramfs", "tmpfs")
_OF_DISK = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs", "zfs")


class ClusterError(UsageError):
    """A cluster that cannot run what is asked; one line that names the key."""


def require_gpus(config: Config, cluster: SlurmConfig) -> None:
    """Raise ClusterError if the run wants GPUs and its job does not."""
    wanted = {
        "learner.device": config.learner.device, "actor.device": config.actor.device,
        "actor.backend": config.actor.backend,
    }  # fmt: skip
    for key, value in wanted.items():
        if "cuda" in value and not cluster.gpus:
            raise ClusterError(f"{key}={value} needs a GPU: set cluster.gpus=1, or {key} without cuda")


def require_room(cluster: SlurmConfig, queue: Queue, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that can have the run. Raises ClusterError: no such partition, or none has enough."""
    known = {node.partition: node.default for node in nodes}
    for name in queue.partitions:
        if name not in known:
            raise ClusterError(f"no partition {name} here: there are {', '.join(sorted(known))}")
    names = queue.partitions or tuple(name for name, default in known.items() if default)
    if not names:
        raise ClusterError(f"no default partition here: set cluster.partition, to one of {', '.join(known)}")
    refusals = [_refusal(cluster, name, [n for n in nodes if n.partition == name]) for name in names]
    if all(refusals):
        raise ClusterError(str(refusals[0]))
    open_to = [name for name, refusal in zip(names, refusals, strict=True) if refusal is None]
    return [node for node in nodes if node.partition in open_to]


def _refusal(cluster: SlurmConfig, partition: str, nodes: Sequence[Node]) -> str | None:
    """Why no nodes of the partition can have the job; None: some can."""
    up = [node for node in nodes if node.up]
    if not up:
        return f"partition {partition} is down: choose another cluster.partition"
    limit = up[0].limit_min
    if limit is not None and cluster.time_min > limit:
        return f"cluster.time_min={cluster.time_min}: partition {partition} allows {limit} minutes"
    memory_mb = round(1024 * (cluster.memory_gb or 0))
    wanted = {
        "gpus": (cluster.gpus, [node.gpus for node in up], ""),
        "cpus": (cluster.cpus, [node.cpus for node in up], ""),
        "memory_gb": (memory_mb, [node.memory_mb for node in up], " MB"),
    }
    for key, (asked, there, unit) in wanted.items():
        if asked > max(there):
            value = getattr(cluster, key)
            return f"cluster.{key}={value}: no node of partition {partition} has more than {max(there)}{unit}"
    fit = [
        node for node in up
        if node.gpus >= cluster.gpus and node.cpus >= cluster.cpus and node.memory_mb >= memory_mb
    ]  # fmt: skip
    if len(fit) < cluster.nodes:
        return f"cluster.nodes={cluster.nodes}: {len(fit)} nodes of partition {partition} have what is asked"
    return None


def require_shared(folder: Path, cluster: SlurmConfig, nodes: Sequence[Node]) -> None:
    """Raise ClusterError if the folder is on a disk of this host, and the job may run on another."""
    here = socket.gethostname().partition(".")[0]
    others = sorted({node.name for node in nodes if node.name.partition(".")[0] not in (here, "localhost")})
    kind = file_system_of(folder)
    if others and not cluster.shared and kind in (*_OF_MEMORY, *_OF_DISK):
        raise ClusterError(
            f"{folder} is on a disk of this host ({kind}), which node {others[0]} does not see: choose a "
            "runs_dir that all nodes see, or set cluster.shared=true if this one is exported to them"
        )


def file_system_of(path: Path) -> str:
    """The kind of the file system that has `path`, or will have it; empty: unknown."""
    place = os.path.realpath(path)
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, found, *_ = line.split()
        point = point.encode().decode("unicode_escape")  # a space is \040
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind
