"""What the learner last told everybody, and how soon actors adopted it."""

from collections import deque
from collections.abc import Collection

from protocol.messages import Progress, Weights


class Publications:
    """The newest progress and weights."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.weights: Weights | None = None
        self._published_s = 0.0
        self._adopted: dict[str, int] = {}  # actor id -> newest version
        self._delays_s: deque[float] = deque(maxlen=100)

    @property
    def newest(self) -> list[Progress | Weights]:
        """For a client that just came."""
        return [message for message in (self.progress, self.weights) if message is not None]

    @property
    def adoption_s(self) -> float:
        """Mean time from a publication to an actor's use of it, over the last ones; NaN before the first."""
        return sum(self._delays_s) / len(self._delays_s) if self._delays_s else float("nan")

    def publish(self, weights: Weights, live_actors: Collection[str], now_s: float) -> None:
        self.weights, self._published_s = weights, now_s
        self._adopted = {name: version for name, version in self._adopted.items() if name in live_actors}

    def note_version(self, actor_id: str, version: float | None, now_s: float) -> None:
        """An actor says which version it uses."""
        newest = None if self.weights is None else self.weights.version
        if newest is not None and version == newest and self._adopted.get(actor_id) != newest:
            self._adopted[actor_id] = newest
            self._delays_s.append(now_s - self._published_s)
