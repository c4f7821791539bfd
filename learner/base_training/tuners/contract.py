"""What a run asks of a base that it trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actor.policy.weights import Weights
from learner.algorithms.contract import Figures
from learner.algorithms.finite import NonFinite
from learner.base_training.episodes import WindowShape
from learner.ranks.ranks import Batch


@dataclass(frozen=True)
class TunerSettings:
    """How a base is trained further."""

    updates: int
    """In all; the learning rate is 0 after them."""
    warmup: int
    """Updates until the learning rate is `lr`."""
    lr: float | None
    """None: that of the base's kind."""
    ema_ceiling: float
    """Of the moving average of the weights, where the kind of base has one."""
    seed: int
    device: str


class BaseTuner(Protocol):
    """A base in training. It begins with the weights of `base.path`."""

    shape: WindowShape
    """Of the windows that `update` takes."""

    @property
    def updates(self) -> int:
        """Made so far."""
        ...

    def update(self, batch: Batch) -> Figures:
        """One update from a batch with the fields of `WindowArrays`.

        It and all later ones change no weight if the loss or a gradient is not finite."""
        ...

    def first_skipped(self) -> NonFinite | None:
        """The first update that was skipped because it was not finite, if any was."""
        ...

    def weights(self) -> Weights:
        """What actors play, under the names of `BasePolicy.with_weights`; the moving average, if it has one.
        The tensors are those in training: copy what must not change."""
        ...

    def state(self) -> dict[str, Any]:
        """All that the next update depends on but its batch; `weights_only` readable."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned. Raises ValueError: the state of another network."""
        ...

    def save(self, folder: Path, weights: Weights | None = None) -> None:
        """Write a plain base, which `base.path` opens, into `folder`, which is missing or empty.
        `weights`: as `weights` returned them once; None: those of now."""
        ...
