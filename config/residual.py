"""What every algorithm says of the residual that it trains: its network, and what it may change."""

from typing import Literal

from config.algorithm import AlgorithmConfig
from config.pictures import PicturesConfig
from config.reach import Scale
from config.relation import Relation

SEEN = ("state", "proprioception", "features", "pictures")
"""What a residual may see: words of algo.sees and algo.critics_see."""


class ResidualConfig(AlgorithmConfig, frozen=True):
    """config/algo, the files of algorithms that train a residual"""

    residual_scale: Scale
    residual_dims: tuple[int, ...] | None
    residual_shape: Literal["chunk", "constant"]
    relations: tuple[Relation, ...]
    sees: tuple[str, ...]
    proprioception: tuple[tuple[int, int], ...]
    actor_input: Literal["obs", "obs_base_action"]
    hidden: tuple[int, ...]
    last_layer_gain: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positive("residual_scale")
        self.at_least(0, "last_layer_gain")
        self.require(min(self.hidden, default=0) >= 1, "hidden", "one width or more, each at least 1")
        self.require_dims("residual_dims")
        ranges_fit = all(0 <= first < end for first, end in self.proprioception)
        self.require(ranges_fit, "proprioception", "ranges [first, end) with first below end")
        self.require_seen("sees")

    def require_seen(self, key: str) -> None:
        """Raise ValueError unless `key` has words of what there is to see."""
        words = getattr(self, key)
        fit = 0 < len(words) == len(set(words)) and set(words) <= {*SEEN}
        self.require(fit, key, f"one or more different words of {', '.join(SEEN)}")
        if not self.proprioception and "proprioception" in words:
            raise ValueError(
                f"algo.{key} names proprioception, and task.proprioception names none for this task: set "
                "algo.proprioception=[agent.qpos,agent.qvel], names that residual-rl inspect shows, or "
                "ranges [first, end) such as [[0,18]]"
            )

    @property
    def steers(self) -> bool:
        """Whether the network chooses the noise that the base's plans start from, in place of a residual."""
        return False

    @property
    def looks_at(self) -> "PicturesConfig | None":
        """What the networks make of pictures; None: they see none."""
        return None

    @property
    def output(self) -> Literal["deterministic", "gaussian", "normal"]:
        """What the network's output is: a residual, the squashed Gaussian of one, or the mean of a Gaussian
        that is not squashed."""
        raise NotImplementedError

    @property
    def needs_features(self) -> bool:
        """Whether actors have to ask the base for its features."""
        return "features" in self.sees

    @property
    def plays(self) -> "ResidualConfig":
        """The residual that actors add to the base."""
        return self

    @property
    def scale(self) -> Scale:
        return self.residual_scale

    def describe(self) -> str:
        dims = "all" if self.residual_dims is None else list(self.residual_dims)
        related = "".join(f", {relation.text}" for relation in self.relations)
        seen = f" relations{related}" if related else ""
        if self.sees != ("state",):
            robot = f" {self.proprioception}" if "proprioception" in self.sees else ""
            shown = f" ({self.looks_at.describe()})" if self.looks_at and "pictures" in self.sees else ""
            seen += f" sees {', '.join(self.sees)}{robot}{shown}"
        return f"{self.output} {self.residual_shape} dims {dims} {self.actor_input} {list(self.hidden)}{seen}"
