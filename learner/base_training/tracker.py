"""A base's training on Weights & Biases: curves, and the checkpoint as one artifact with aliases."""

import logging
from pathlib import Path
from typing import Any, Literal

import msgspec
from dotenv import find_dotenv, load_dotenv

from config.train_base import TrainBaseConfig

log = logging.getLogger(__name__)


class BaseTracker:
    """Does nothing with wandb.mode=disabled, and says so once where wandb fails: training goes on.

    Key, entity and server come from the environment or a .env file, and so does the project where none is
    configured.
    """

    def __init__(self, settings: TrainBaseConfig) -> None:
        self._run: Any = None
        self._name = f"base-{settings.task}"
        if settings.wandb.mode == "disabled":
            return
        load_dotenv(find_dotenv(usecwd=True))
        self._run = _start(settings, settings.wandb.mode)
        if self._run is None and settings.wandb.mode == "online":
            self._run = _start(settings, "offline")
            if self._run is not None:
                log.warning("to send this training later: wandb sync %s", Path(self._run.dir).parent)

    def log(self, step: int, **figures: float) -> None:
        if self._run is not None:
            self._run.log(figures, step=step)

    def publish(self, folder: Path, checkpoint: str, step: int, best: bool) -> None:
        """`folder`'s args.json and checkpoints/<checkpoint>.pt as a new version of the one artifact,
        in the published layout: what downloads it is a base.path. Networks alone, no optimiser state."""
        if self._run is None:
            return
        import wandb

        artifact = wandb.Artifact(self._name, type="model", metadata={"step": step})
        artifact.add_file(str(folder / "args.json"), "args.json")
        artifact.add_file(str(folder / "checkpoints" / f"{checkpoint}.pt"), "checkpoints/best.pt")
        aliases = [f"step-{step}", "latest", *(["best"] if best else [])]
        self._run.log_artifact(artifact, aliases=aliases)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


def _start(settings: TrainBaseConfig, mode: Literal["online", "offline", "disabled"]) -> Any:
    """The run; None where wandb cannot start in this mode, which is said."""
    import wandb

    from learner.report.wandb_process import require_server

    try:
        if mode == "online":
            require_server()
        return wandb.init(
            project=settings.wandb.project_name(),
            mode=mode,
            dir=settings.folder,
            job_type="train_base",
            config=msgspec.to_builtins(settings),
        )
    except (wandb.Error, OSError) as error:
        log.warning("nothing goes to wandb %s: %s", mode, error)
        return None
