"""Files of another run, which keys of the configuration name. Imports no torch, which takes seconds."""

from pathlib import Path

from config.actor import ExpertConfig
from config.section import ConfigError

NAMED = ("best", "newest")
"""Checkpoints that a run's folder has; any other name is the path of a file."""
SUFFIXES = (".safetensors", ".pt")
"""Of a residual's checkpoint; the second is that of earlier releases."""


def residual_place(folder: Path, name: str) -> Path:
    """The checkpoint `name` in a run's folder `checkpoints`, or where it would be."""
    places = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((place for place in places if place.is_file()), places[0])


def run_folder(key: str, named: str, runs_dir: str) -> Path:
    """The folder of a run that `key` names, by its folder or by its name in `runs_dir`.
    Raises ConfigError: there is none."""
    for folder in (Path(named), Path(runs_dir) / named):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"{key}={named} is no run: name a run's folder, with config.yaml and checkpoints, or its name in "
        f"{runs_dir}"
    )


def checkpoint_file(key: str, named: str, folder: Path | None, others: str = "") -> Path:
    """The file of the checkpoint that `key` names: of the run in `folder`, or a file of its own.
    Raises ConfigError: it is missing; says what may be given, with the `others` that this key may have."""
    if named not in NAMED:
        path = Path(named)
    else:
        assert folder is not None  # without a run there is none by such a name
        path = residual_place(folder / "checkpoints", named)
    if not path.is_file():
        raise ConfigError(f"{key}={named}: {path} is missing: give {', '.join(NAMED)}{others}, or a file")
    return path


def expert_files(settings: ExpertConfig, runs_dir: str) -> tuple[Path, Path | None]:
    """The folder of actor.expert.run and the file of its residual; None: the base acts alone.
    Raises ConfigError: one of them is missing."""
    folder = run_folder("actor.expert.run", settings.run or "", runs_dir)
    if settings.checkpoint == "base":
        return folder, None
    return folder, checkpoint_file("actor.expert.checkpoint", settings.checkpoint, folder, others=", base")
