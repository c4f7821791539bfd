"""Settings of an actor's process: config/actor.yaml, typed and checked."""

from typing import Literal

from config.section import Section


class ActorConfig(Section, frozen=True):
    """config/actor.yaml"""

    id: str | None
    index: int
    count: int
    num_envs: int
    processes: int | None
    backend: Literal["physx_cpu", "physx_cuda"]
    device: str
    threads: int
    nice: int
    rows_per_batch: int
    spool: str | None

    def __post_init__(self) -> None:
        self.at_least(0, "index", "nice")
        self.at_least(1, "count", "num_envs", "threads", "rows_per_batch")
        self.filled("id", "device", "spool")
        self.require(self.processes is None or self.processes >= 1, "processes", "at least 1, or null")
