"""Where runs are: config/cluster/, typed and checked."""

import re

from config.section import Section

_OPTION = re.compile(r"--[a-z][a-z-]*(=.+)?")


class LocalConfig(Section, frozen=True, tag_field="type", tag="local", forbid_unknown_fields=False):
    """config/cluster/local.yaml; what an experiment asks of a cluster has no meaning here."""


class SlurmConfig(Section, frozen=True, tag_field="type", tag="slurm"):
    """config/cluster/slurm.yaml"""

    partition: str | tuple[str, ...] | None
    queues: tuple[str, ...]
    account: str | None
    qos: str | None
    time_min: int
    nodes: int
    gpus: int
    cpus: int
    memory_gb: float | None
    before: tuple[str, ...]
    container_args: tuple[str, ...]
    container_command: tuple[str, ...]
    python: str | None
    options: tuple[str, ...]
    grace_s: int
    restarts: int
    at_once: int
    shared: bool

    def __post_init__(self) -> None:
        self.filled("partition", "account", "qos", "python")
        self.require(all(self.queues), "queues", "names, none of them empty")
        given = all(_OPTION.fullmatch(option) for option in self.options)
        self.require(given, "options", "long options of sbatch, such as --constraint=a100")
        self.require(len(set(self.queues)) == len(self.queues), "queues", "different names")
        self.require(not (self.queues and self.partition), "partition", "null beside cluster.queues")
        self.at_least(1, "time_min", "nodes", "cpus", "at_once")
        self.at_least(0, "gpus", "restarts")
        self.at_least(20, "grace_s")
        self.require(self.memory_gb is None or self.memory_gb > 0, "memory_gb", "above 0, or null")
        self.require(self.grace_s < 60 * self.time_min, "grace_s", "below cluster.time_min")

    @property
    def places(self) -> tuple["Queue", ...]:
        """What the run is submitted to: every queue, or the partitions."""
        if self.queues:
            return tuple(map(Queue.read, self.queues))
        names = (self.partition,) if isinstance(self.partition, str) else self.partition
        return (Queue(partitions=names or ()),)


class Queue(Section, frozen=True):
    """Partitions of a cluster among which Slurm chooses; none: the cluster's default partition."""

    partitions: tuple[str, ...]
    cluster: str | None = None

    @classmethod
    def read(cls, text: str) -> "Queue":
        """PARTITION, or CLUSTER:PARTITION."""
        cluster, colon, partition = text.rpartition(":")
        return cls(partitions=(partition,), cluster=cluster if colon else None)

    def __str__(self) -> str:
        return ":".join(filter(None, (self.cluster, ",".join(self.partitions) or "the default partition")))
