"""Settings of an actor's process: config/actor.yaml, typed and checked."""

from typing import Any, Literal

from config.section import Section

PICTURES_FOLDER = "live"
"""In a run's folder: the newest picture of each actor whose robot a person may drive."""

_NAMED_KEYS = ("up", "down", "left", "right", "pageup", "pagedown")


class ExpertConfig(Section, frozen=True):
    """actor.expert"""

    run: str | None
    checkpoint: str
    probability: float
    after_frames: int | None

    def __post_init__(self) -> None:
        self.filled("run", "checkpoint")
        self.require(0 <= self.probability <= 1, "probability", "in [0, 1]")
        later = self.after_frames
        self.require(later is None or later >= 1, "after_frames", "at least 1, or null")


class KeyboardConfig(Section, frozen=True):
    """actor.keyboard"""

    keys: tuple[str, ...]
    size: float
    hold_frames: int
    gripper: bool

    def __post_init__(self) -> None:
        taken = [key for key in self.keys if key in ("g", "x", "space", "enter", "backspace")]
        self.require(not taken, "keys", "others than g, x, space, enter and backspace")
        known = (*_NAMED_KEYS, *(key for key in self.keys if len(key) == 1 and key.isprintable()))
        self.require(set(self.keys) <= {*known}, "keys", f"characters, or of {', '.join(_NAMED_KEYS)}")
        pairs = len(self.keys) % 2 == 0 and len(set(self.keys)) == len(self.keys)
        self.require(pairs, "keys", "pairs of different keys")
        self.require(0 < self.size <= 1, "size", "in (0, 1]")
        self.at_least(1, "hold_frames")


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
    intervene: Literal["keyboard", "teleop", "expert"] | None
    expert: ExpertConfig
    keyboard: KeyboardConfig
    teleop: dict[str, Any] | None
    teleop_scale: float
    pictures: tuple[int, int] | None
    real_time: bool | None
    spool: str | None

    def __post_init__(self) -> None:
        self.at_least(0, "index", "nice")
        self.at_least(1, "count", "num_envs", "threads", "rows_per_batch")
        self.filled("id", "device", "spool")
        self.positive("teleop_scale")
        self.require(self.processes is None or self.processes >= 1, "processes", "at least 1, or null")
        size = self.pictures
        fits = size is None or all(16 <= side <= 2048 for side in size)
        self.require(fits, "pictures", "width and height in 16 .. 2048, or null")
        if self.intervene == "teleop" and not self.teleop:
            raise ValueError("teleop must be given with intervene=teleop")

    @property
    def by_person(self) -> bool:
        """Whether a person may act."""
        return self.intervene in ("keyboard", "teleop")

    @property
    def shown(self) -> tuple[int, int] | None:
        """Size of the pictures for the person who may act; None: none are drawn."""
        return self.pictures if self.by_person else None

    @property
    def paced(self) -> bool:
        """Whether simulated time is not faster than real time."""
        return self.by_person if self.real_time is None else self.real_time
