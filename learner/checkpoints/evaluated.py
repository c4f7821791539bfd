"""`checkpoints/evaluated/v<version>.safetensors`: residuals that were evaluated, for films and the like."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from actor.policy.checkpoint_file import write_safetensors
from actor.policy.run_files import SUFFIXES
from protocol.messages import Evaluation

FOLDER = "evaluated"


class EvaluatedCheckpoints:
    """Keeps at most `keep` of them, evenly spread over the run.

    Args:
        folder: the run's folder of checkpoints.
        residual_of: the checkpoint of the residual that was evaluated, if it is known (`BestCheckpoint`).
    """

    def __init__(
        self, folder: Path, residual_of: Callable[[Evaluation], dict[str, Any] | None], keep: int
    ) -> None:
        self._folder, self._residual_of, self._keep = folder / FOLDER, residual_of, keep

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        """Write the residual of each. Raises CheckpointError: a file cannot be written."""
        for evaluation in evaluations:
            content = self._residual_of(evaluation)
            if content is None or self._keep == 0:
                continue
            write_safetensors(self._folder / f"v{evaluation.version}.safetensors", content)
            kept = kept_versions(self._folder)
            for version in superfluous([*kept], self._keep):
                # A kill between the two leaves no description without weights.
                kept[version].with_suffix(".json").unlink(missing_ok=True)
                kept[version].unlink(missing_ok=True)


def kept_versions(folder: Path) -> dict[int, Path]:
    """Version -> file, of the residuals in a folder `checkpoints/evaluated`, oldest first."""
    paths = [path for suffix in SUFFIXES for path in folder.glob(f"v*{suffix}")]
    found = ((re.fullmatch(r"v(\d+)", path.stem), path) for path in paths)
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def superfluous(versions: Sequence[int], keep: int) -> list[int]:
    """Which of these versions, oldest first, go so that `keep` are left: each time the one whose neighbours
    are closest to each other, so that the first and the newest stay."""
    left = list(versions)
    while len(left) > keep:
        inner = range(1, len(left) - 1)
        left.pop(min(inner, key=lambda i: left[i + 1] - left[i - 1], default=0))
    return sorted({*versions} - {*left})
