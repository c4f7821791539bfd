"""Where an expert's files are."""

from pathlib import Path

from actor.interventions.error import InterventionError
from config.main import Config


def find_run(config: Config) -> Path:
    """The folder of actor.expert.run. Raises InterventionError: there is none."""
    run = config.actor.expert.run or ""
    for folder in (Path(run), Path(config.runs_dir) / run):
        if (folder / "config.yaml").is_file():
            return folder
    raise InterventionError(
        f"actor.expert.run={run} is no run: name a run's folder, with config.yaml and checkpoints, or its "
        f"name in {config.runs_dir}"
    )


def find_residual(folder: Path, checkpoint: str) -> Path | None:
    """The file of actor.expert.checkpoint; None: the base alone. Raises InterventionError: it is missing."""
    if checkpoint == "base":
        return None
    known = checkpoint in ("best", "newest")
    path = folder / "checkpoints" / f"{checkpoint}.pt" if known else Path(checkpoint)
    if not path.is_file():
        raise InterventionError(
            f"actor.expert.checkpoint={checkpoint}: {path} is missing: give best, newest, base, or a file"
        )
    return path
