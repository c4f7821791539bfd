"""Where runs are: config/cluster/, typed and checked."""

from config.section import Section


class LocalConfig(Section, frozen=True, tag_field="type", tag="local"):
    """config/cluster/local.yaml"""


class RayConfig(Section, frozen=True, tag_field="type", tag="ray"):
    """config/cluster/ray.yaml"""

    address: str | None
    actors: int
    actor_cpus: float
    actor_gpus: float
    learner_cpus: float
    learner_gpus: float
    evaluator_cpus: float
    evaluator_gpus: float
    grows: bool
    restarts: int
    answer_s: float

    def __post_init__(self) -> None:
        self.filled("address")
        self.at_least(1, "actors")
        self.positive("actor_cpus", "learner_cpus", "evaluator_cpus", "answer_s")
        self.at_least(0, "actor_gpus", "learner_gpus", "evaluator_gpus", "restarts")
