"""A run as what is shared of it: its configuration, one residual, and where both come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from actor.policy.run_files import residual_place
from config.main import Config
from config.process import UsageError
from config.residual import ResidualConfig
from launch.run.folder import find_run
from launch.run.trained import base_of_run, residual_of_run
from launch.show.film.settings import known_config
from learner.checkpoints.shared import facts_of


@dataclass(frozen=True)
class Residual:
    """A checkpoint of a residual, with its content."""

    algo: ResidualConfig
    place: Path
    content: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        return facts_of(self.content)


@dataclass(frozen=True)
class Shared:
    """A run's folder and configuration, and which of its residuals is meant."""

    run_dir: Path
    config: Config
    checkpoint: str

    @cached_property
    def residual(self) -> Residual:
        """Raises UsageError: the run has none, or no such checkpoint. CheckpointError: it cannot be used."""
        algo = self.config.algo.plays
        if algo is None:
            raise UsageError(
                f"{self.run_dir} trained no residual (algo={self.config.algo.name}): push --what base, "
                "replay and report need none"
            )
        place = self._place()
        if not place.is_file():
            raise UsageError(f"no checkpoint {place}: name best, newest, or a file that is there")
        content = read_checkpoint(place)
        if not isinstance(content, dict) or "actor" not in content:
            raise CheckpointError(
                f"{place} is no checkpoint of a residual: name best, newest, or a file of a run"
            )
        if (found := non_finite_value(content["actor"])) is not None:
            raise CheckpointError(f"{place}: {found}: choose another checkpoint of its run")
        return Residual(algo, place, content)

    def with_trained_base(self) -> Config:
        """The configuration with the base that the run has trained, where it trains one.
        Raises UsageError: it has none yet."""
        if not self.config.algo.trains_base:
            return self.config
        base = msgspec.structs.replace(self.config.base, path=str(base_of_run(self.run_dir)))
        return msgspec.structs.replace(self.config, base=base)

    def _place(self) -> Path:
        match self.checkpoint:
            case "best":
                return residual_of_run(f"{self.run_dir}")
            case "newest":
                return residual_place(self.run_dir / "checkpoints", "newest")
            case _:
                return Path(self.checkpoint)


def shared_run(run: str, checkpoint: str, overrides: Sequence[str] = ()) -> Shared:
    """The run with some keys set anew, and its checkpoint `best` (else the newest), `newest`, or a file.
    Raises UsageError: no such run, or its configuration cannot be used."""
    run_dir = find_run(run)
    return Shared(run_dir, known_config(run_dir, overrides), checkpoint)
