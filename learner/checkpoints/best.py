"""`best.safetensors`: the residual of the published version whose evaluation promises the highest success.

Evaluations differ in their number of episodes: 40 successes of 40 promise less than 99 of 100. What counts is
the lower end of the rate's 95 % interval (Wilson 1927)."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from actor.policy.checkpoint_file import read_checkpoint, write_safetensors
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from actor.policy.run_files import residual_place
from config.algorithm import AlgorithmConfig
from learner.intervals import wilson_interval
from protocol.arrays import Columns
from protocol.messages import Evaluation, Weights

log = logging.getLogger(__name__)

# An evaluation arrives a minute or more after its version was published.
_REMEMBERED_BYTES = 128 << 20


class Score(NamedTuple):
    """How good the residual in `best.safetensors` is."""

    version: int
    success: float
    episodes: int

    @property
    def promised(self) -> float:
        """The lower end of the success rate's 95 % interval."""
        return wilson_interval(self.success, self.episodes)[0]


class BestCheckpoint:
    """Remembers the versions published lately, and writes one whose evaluation is the best so far.

    The file has what `newest.safetensors` has without the critics, and `success` and `episodes` of the
    evaluation.

    Args:
        folder: the run's folder of checkpoints. A best one in it counts: a worse one does not replace it.
        limit: bytes of weights that are remembered; the oldest versions are forgotten first.
    """

    def __init__(self, folder: Path, algo: AlgorithmConfig, limit: int = _REMEMBERED_BYTES) -> None:
        self.place = residual_place(folder, "best")
        self.score = _read_score(self.place)
        self._algo, self._limit, self._bytes = algo, limit, 0
        self._recent: dict[int, tuple[int, Columns]] = {}  # version -> updates, weights; oldest first

    def remember(self, weights: Weights, updates: int) -> None:
        """Keep the arrays of a publication, which nobody changes any more; `updates` were made before it."""
        self._recent[weights.version] = (updates, weights.columns)
        self._bytes += _size(weights.columns)
        while self._bytes > self._limit and len(self._recent) > 1:
            _, oldest = self._recent.pop(next(iter(self._recent)))
            self._bytes -= _size(oldest)

    def residual_of(self, evaluation: Evaluation) -> dict[str, Any] | None:
        """The checkpoint of the residual that was evaluated; None: there was none, or it is forgotten."""
        if evaluation.policy != "full" or evaluation.version not in self._recent:
            return None
        updates, columns = self._recent[evaluation.version]
        if not columns:
            return None
        return {
            "version": evaluation.version,
            "updates": updates,
            "algo": msgspec.to_builtins(self._algo),
            "actor": {name: torch.from_numpy(array) for name, array in columns.items()},
            "success": evaluation.success,
            "episodes": len(evaluation.seeds),
        }

    def consider(self, evaluations: Iterable[Evaluation]) -> None:
        """Write the residual of each that is at least as good as the best one before.
        Raises CheckpointError: the file cannot be written."""
        for evaluation in evaluations:
            content = self.residual_of(evaluation)
            if content is None:
                continue
            score = Score(evaluation.version, evaluation.success, len(evaluation.seeds))
            if self.score is None or score.promised >= self.score.promised:
                self.place = self.place.with_suffix(".safetensors")
                write_safetensors(self.place, content)
                self.score = score


def _size(columns: Columns) -> int:
    return sum(array.nbytes for array in columns.values())


def _read_score(place: Path) -> Score | None:
    if not place.exists():
        return None
    try:
        content = read_checkpoint(place)
        if (found := non_finite_value(content)) is not None:
            raise CheckpointError(found)
        return Score(int(content["version"]), float(content["success"]), int(content["episodes"]))
    except (CheckpointError, KeyError, TypeError, ValueError, OverflowError) as error:
        log.warning("%s cannot be used (%s): the next evaluated residual replaces it", place, error)
        return None
