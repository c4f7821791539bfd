"""The interface of a success classifier."""

from typing import Protocol

from torch import Tensor

from actor.policy.images import Images


class SuccessClassifier(Protocol):
    """Says of observations whether the task looks solved there."""

    threshold: float
    """Probabilities from here on count as success."""

    def probability(self, observation: Tensor, images: Images) -> Tensor:
        """(N,), of observations (N, O) and the images of the task's cameras (N, height, width, 3)."""
        ...
