"""A run as what is shared of it: its configuration, one residual, and where both come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from config.algo import AlgoConfig
from config.main import Config
from config.process import UsageError
from launch.run.folder import find_run
from launch.run.trained import config_of_run, residual_of_run
from learner.checkpoints.shared import facts_of


@dataclass(frozen=True)
class Shared:
    """A run's folder and configuration, and the checkpoint of a residual, with its content."""

    run_dir: Path
    config: Config
    algo: AlgoConfig
    place: Path
    content: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        return facts_of(self.content)


def shared_run(run: str, checkpoint: str) -> Shared:
    """The run and its checkpoint `best` (else the newest), `newest`, or the file that is named.
    Raises UsageError: no such run, or no such checkpoint, or it cannot be read."""
    config, run_dir = config_of_run(run, ()), find_run(run)
    algo = config.algo.plays
    if algo is None:
        raise UsageError(
            f"{run_dir} trained no residual (algo={config.algo.name}): a base that it trained is in "
            "checkpoints/bases, give it to another run as base.path"
        )
    match checkpoint:
        case "best":
            place = residual_of_run(run)
        case "newest":
            place = run_dir / "checkpoints" / "newest.pt"
        case _:
            place = Path(checkpoint)
    if not place.is_file():
        raise UsageError(f"no checkpoint {place}: name best, newest, or a file that is there")
    content = read_checkpoint(place)
    if not isinstance(content, dict) or "actor" not in content:
        raise CheckpointError(f"{place} is no checkpoint of a residual: name best.pt or newest.pt of a run")
    if (found := non_finite_value(content["actor"])) is not None:
        raise CheckpointError(f"{place}: {found}: choose another checkpoint of its run")
    return Shared(run_dir, config, algo, place, content)
