"""Offline training of the diffusion base: bash launch/train_base.sh [preset=small] [key=value ...]

`out` becomes a base.path: args.json and checkpoints/best.pt in the published layout, beside
checkpoints/newest.pt, demos.h5, evaluations.jsonl, and training.pt, with which a stopped training goes on.
preset=small is for processors; the default, preset=published, wants a GPU. What each key means:
config/train_base/main.yaml.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import torch
from rich.progress import Progress, TaskID, TextColumn

from actor.policy.contract import CheckpointError
from actor.policy.device import DeviceError, require_device
from actor.policy.diffusion.checkpoint import save_agent
from actor.policy.dimensions import named_dimensions
from config.process import wants_help
from config.section import ConfigError
from config.spaces import known_spaces
from config.train_base import TrainBaseConfig, compose_training, training_defaults
from learner.base_training.evaluation import BaseEvaluations, Evaluated
from learner.base_training.tracker import BaseTracker
from learner.base_training.trainer import BaseTrainer, ResumeError
from learner.base_training.windows import Windows, make_windows
from learner.checkpoints.files import read_checkpoint, write_checkpoint
from learner.replay.prior.demonstration import Demonstration, DemonstrationError
from learner.replay.prior.maniskill import read_maniskill, write_maniskill

log = logging.getLogger(__name__)

# Between two looks at the evaluation and the loss.
STEPS_PER_LOOK = 50


def read_episodes(settings: TrainBaseConfig) -> list[Demonstration]:
    """The demonstrations of all sources in turn, whatever their format.

    Raises:
        DemonstrationError: none there, not readable, or of sources that do not go together.
    """
    episodes: list[Demonstration] = []
    for source in settings.sources:
        found = _read_source(settings, source)
        if not found:
            raise DemonstrationError(f"{source} holds no episodes")
        if episodes and _sizes(found[0]) != _sizes(episodes[0]):
            raise DemonstrationError(
                f"{source} has {_sizes(found[0])} observation and action numbers, {settings.sources[0]} has "
                f"{_sizes(episodes[0])}: choose demos of one task and control mode"
            )
        episodes += found
    return episodes


def _read_source(settings: TrainBaseConfig, source: str) -> list[Demonstration]:
    if source.endswith(".h5"):
        return read_maniskill(Path(source), settings.max_episodes)
    # Here, since LeRobot takes seconds to import.
    from learner.replay.prior.lerobot import read_lerobot

    return read_lerobot(source, settings.observation, settings.max_episodes)


def _sizes(episode: Demonstration) -> tuple[int, int]:
    return episode.observations.shape[1], episode.actions.shape[1]


def windows_of(settings: TrainBaseConfig, episodes: list[Demonstration]) -> Windows:
    """What the network is trained on."""
    pairs = [(episode.observations, episode.actions) for episode in episodes]
    return make_windows(pairs, settings.obs_horizon, settings.pred_horizon)


def require_task_sizes(settings: TrainBaseConfig, episodes: list[Demonstration]) -> None:
    """Raise DemonstrationError, naming both sides, if the base could not act in its task afterwards.

    Raises:
        ConfigError: nothing knows the task, in which the base is to be evaluated.
    """
    known = known_spaces(settings.task, settings.control_mode)
    if settings.evaluation.every:
        try:
            known = named_dimensions(settings.task, settings.control_mode)
        except ConfigError as error:
            raise ConfigError(f"{error} (evaluation.every=0 trains without playing the task)") from error
    for what, wanted, numbers in (
        ("observation", known.observation_dim, episodes[0].observations.shape[1]),
        ("action", known.action_dim, episodes[0].actions.shape[1]),
    ):
        if wanted not in (None, numbers):
            raise DemonstrationError(
                f"{settings.sources[0]} has {numbers} {what} numbers, task={settings.task} "
                f"control_mode={settings.control_mode} has {wanted}: choose other demos, or other features "
                "of a LeRobot dataset with observation=[...]"
            )


def require_own_folder(settings: TrainBaseConfig) -> None:
    """Raise ResumeError if `out` holds a base that nothing there can go on with: it would be lost."""
    held = (settings.folder / "checkpoints" / "best.pt").is_file()
    if held and settings.resume != "new" and not (settings.folder / "training.pt").is_file():
        raise ResumeError(
            f"{settings.out} holds a finished base: choose another out=<folder>, or resume=new to replace it"
        )


def keep_demonstrations(settings: TrainBaseConfig, episodes: list[Demonstration]) -> None:
    """Some of the demonstrations beside the base, as the prior data of a run on it."""
    place = settings.folder / "demos.h5"
    if settings.keep_demos and place.resolve() not in {Path(source).resolve() for source in settings.sources}:
        write_maniskill(place, [episode.cut_at_success() for episode in episodes[: settings.keep_demos]])


class Run:
    """A training and its folder."""

    def __init__(self, settings: TrainBaseConfig, data: Windows, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._trainer = BaseTrainer(settings, data)
        self._resume()
        self._evaluations = BaseEvaluations(settings, settings.folder / "evaluating")
        self._tracker = BaseTracker(settings)
        points = self._evaluations_so_far()
        self._best = max(points, key=lambda point: (point.success or 0, point.step), default=None)
        self._evaluated_at = points[-1].step if points else 0

    def train(self) -> None:
        """To the last iteration, or until `stop` is set; either way everything is saved."""
        columns = (*Progress.get_default_columns(), TextColumn("{task.fields[figures]}"))
        try:
            with Progress(*columns) as progress:
                bar = progress.add_task("base", total=self._settings.iterations, figures="")
                while self._trainer.step < self._settings.iterations and not self._stop.is_set():
                    self._turn(progress, bar)
            self._conclude()
        finally:
            self._evaluations.close()
            self._tracker.close()

    def _turn(self, progress: Progress, bar: TaskID) -> None:
        loss = self._trainer.update()
        step = self._trainer.step
        if step % self._settings.save_every == 0:
            self._save()
        if step % STEPS_PER_LOOK == 0:
            self._tracker.log(step, loss=loss.item())
            self._take_evaluation(wait=False)
            progress.update(bar, completed=step, figures=f"loss {loss.item():.4f}{self._success_in_words()}")
        every = self._settings.evaluation.every
        if every and step // every > self._evaluated_at // every and not self._evaluations.running:
            self._evaluate()

    def _conclude(self) -> None:
        self._save()
        if self._stop.is_set():
            log.info("stopped at step %d: the same command goes on from there", self._trainer.step)
            return
        self._take_evaluation(wait=True)
        if self._settings.evaluation.every and self._evaluated_at < self._trainer.step:
            self._evaluate()
            self._take_evaluation(wait=True)
        if self._best is None:
            self._tracker.publish(self._settings.folder, "newest", self._trainer.step, best=True)
        log.info("finished: base.path=%s%s", self._settings.out, self._success_in_words())

    def _evaluate(self) -> None:
        self._evaluated_at = self._trainer.step
        self._evaluations.start(self._trainer.step, lambda folder: self._write(folder, "best"))

    def _take_evaluation(self, wait: bool) -> None:
        result = self._evaluations.take(wait)
        if result is None or result.success is None:
            return
        log.info("step %d: success %.0f %%", result.step, 100 * result.success)
        self._tracker.log(max(result.step, self._trainer.step), success=result.success)
        with (self._settings.folder / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps({"step": result.step, "success": result.success}) + "\n")
        is_best = self._best is None or (result.success or 0) >= (self._best.success or 0)
        self._tracker.publish(self._evaluations.folder, "best", result.step, is_best)
        if is_best:
            self._best = result
            evaluated = self._evaluations.folder / "checkpoints" / "best.pt"
            os.replace(evaluated, self._settings.folder / "checkpoints" / "best.pt")

    def _save(self) -> None:
        """Newest checkpoint and training state; the newest is the best where nothing was evaluated."""
        self._write(self._settings.folder, "newest")
        write_checkpoint(self._settings.folder / "training.pt", self._trainer.state())
        if self._best is None:
            self._write(self._settings.folder, "best")

    def _write(self, folder: Path, name: str) -> None:
        trainer = self._trainer
        save_agent(folder, trainer.agent, trainer.ema, _arguments(self._settings), name)

    def _resume(self) -> None:
        """Raises ResumeError where `resume` asks for what is not there, or the settings changed."""
        state = self._settings.folder / "training.pt"
        if self._settings.resume == "new" or (self._settings.resume == "auto" and not state.is_file()):
            (self._settings.folder / "evaluations.jsonl").unlink(missing_ok=True)
            return
        if not state.is_file():
            raise ResumeError(f"resume=must, but there is no {state}")
        self._trainer.load_state(read_checkpoint(state))
        log.info("going on from step %d of %s", self._trainer.step, self._settings.out)

    def _evaluations_so_far(self) -> list[Evaluated]:
        path = self._settings.folder / "evaluations.jsonl"
        if not path.is_file():
            return []
        return [Evaluated(**json.loads(line)) for line in path.read_text().splitlines()]

    def _success_in_words(self) -> str:
        if self._best is None or self._best.success is None:
            return ""
        return f", best success {self._best.success:.0%} at step {self._best.step}"


def _arguments(settings: TrainBaseConfig) -> dict[str, Any]:
    """What args.json says beyond the network: how it was trained."""
    ours = {"out", "resume", "device", "threads", "evaluation", "wandb", "save_every", "task", "keep_demos"}
    return {key: value for key, value in msgspec.to_builtins(settings).items() if key not in ours}


def main(words: list[str]) -> int:
    """The exit code."""
    if wants_help(words):
        sys.stdout.write(
            f"{__doc__}\nDefaults, any of which can be set with key=value:\n{training_defaults()}"
        )
        return 0
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    try:
        settings = compose_training(words)
        torch.set_num_threads(settings.threads)
        require_device("device", settings.device)
        require_own_folder(settings)
        episodes = read_episodes(settings)
        require_task_sizes(settings, episodes)
        settings.folder.mkdir(parents=True, exist_ok=True)
        data = windows_of(settings, episodes)
        log.info("%d demonstrations, %d windows", data.episodes, len(data.history))
        keep_demonstrations(settings, episodes)
        Run(settings, data, stop).train()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (CheckpointError, DemonstrationError, DeviceError, ResumeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
