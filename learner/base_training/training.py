"""A training and its folder: where it starts, what it saves, which of its checkpoints is the best."""

import json
import logging
import os
import threading
from typing import Any

import msgspec
from rich.progress import Progress, TaskID, TextColumn

from actor.policy.checkpoint_file import read_checkpoint, write_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import save_agent
from actor.policy.finite import non_finite_value
from config.train_base import TrainBaseConfig
from learner.algorithms.finite import NonFiniteError
from learner.base_training.diverged import explain
from learner.base_training.evaluation import BaseEvaluations, Evaluated
from learner.base_training.follow import lead_base
from learner.base_training.tracker import BaseTracker
from learner.base_training.trainer import BaseTrainer, ResumeError
from learner.base_training.windows import Windows
from learner.checkpoints.files import require_finite
from learner.ranks.ranks import Ranks

log = logging.getLogger(__name__)

# Between two looks at the evaluation and the loss.
STEPS_PER_LOOK = 50


class Training:
    """Trains, saves, and evaluates beside the training.
    Raises CheckpointError, DemonstrationError, ResumeError: see their messages."""

    def __init__(
        self, settings: TrainBaseConfig, data: Windows, stop: threading.Event, ranks: Ranks | None = None
    ) -> None:
        self._settings, self._data, self._stop = settings, data, stop
        self._ranks = ranks or Ranks()
        self._trainer = BaseTrainer(settings, data, self._ranks)
        self._results = Results(settings)
        self._resume()
        lead_base(self._ranks, self._trainer, data)
        self._evaluations = BaseEvaluations(settings, settings.folder / "evaluating")
        self._tracker = BaseTracker(settings, resume=self._trainer.step > 0)

    def run(self) -> None:
        """To the last iteration, or until `stop` is set; either way everything is saved.
        Raises NonFiniteError: an update was not finite; what was saved before stays."""
        columns = (*Progress.get_default_columns(), TextColumn("{task.fields[figures]}"))
        try:
            with Progress(*columns) as progress:
                bar = progress.add_task("base", total=self._settings.iterations, figures="")
                while self._trainer.step < self._settings.iterations and not self._stop.is_set():
                    self._step(progress, bar)
            self._ranks.dismiss()
            self._conclude()
        finally:
            self._evaluations.close()
            self._tracker.close(self._stop)

    def _step(self, progress: Progress, bar: TaskID) -> None:
        self._ranks.lead()
        loss = self._trainer.update()
        step = self._trainer.step
        if step % self._settings.save_every == 0:
            self._save()
        if step % STEPS_PER_LOOK == 0:
            self._require_finite()
            self._tracker.log(step, loss=loss.item())
            self._take_evaluation(wait=False)
            progress.update(bar, completed=step, figures=f"loss {loss.item():.4f}{self._results}")
        every = self._settings.evaluation.every
        if every and step // every > self._results.newest_step // every and not self._evaluations.running:
            self._evaluate()

    def _conclude(self) -> None:
        self._save()
        if self._stop.is_set():
            log.info("stopped at step %d: the same command goes on from there", self._trainer.step)
            return
        self._take_evaluation(wait=True)
        if self._settings.evaluation.every and self._results.newest_step < self._trainer.step:
            self._evaluate()
            self._take_evaluation(wait=True)
        if self._results.best is None:
            self._tracker.publish(self._settings.folder, "newest", self._trainer.step, best=True)
        log.info("finished: base.path=%s%s", self._settings.out, self._results)

    def _evaluate(self) -> None:
        self._require_finite()
        self._results.newest_step = self._trainer.step
        self._write("best", evaluated=True)
        self._evaluations.start(self._trainer.step)

    def _take_evaluation(self, wait: bool) -> None:
        result = self._evaluations.take(wait)
        if result is None or result.success is None:
            return
        log.info("step %d: success %.0f %%", result.step, 100 * result.success)
        self._tracker.log(max(result.step, self._trainer.step), success=result.success)
        is_best = self._results.add(result)
        self._tracker.publish(self._evaluations.folder, "best", result.step, is_best)
        if is_best:
            evaluated = self._evaluations.folder / "checkpoints" / "best.pt"
            os.replace(evaluated, self._settings.folder / "checkpoints" / "best.pt")

    def _save(self) -> None:
        """The newest checkpoint and the training's state; the newest is the best while none was evaluated."""
        self._require_finite()
        state = self._trainer.state()
        require_finite(state, self._settings.folder)
        self._write("newest")
        write_checkpoint(self._settings.folder / "training.pt", state)
        if self._results.best is None:
            self._write("best")

    def _require_finite(self) -> None:
        """Before anything is kept. Raises NonFiniteError: an update was skipped."""
        skipped = self._trainer.first_skipped()
        if skipped is not None:
            raise NonFiniteError(
                explain(skipped, self._trainer.windows_of(skipped), self._data, self._settings)
            )

    def _write(self, name: str, *, evaluated: bool = False) -> None:
        """Write the base as it is now, into the training's folder or into that of the evaluation."""
        folder = self._evaluations.folder if evaluated else self._settings.folder
        trainer = self._trainer
        require_finite({"agent": trainer.agent.state_dict(), "ema_agent": trainer.ema.state_dict()}, folder)
        save_agent(folder, trainer.agent, trainer.ema, _arguments(self._settings), name)

    def _resume(self) -> None:
        state = self._settings.folder / "training.pt"
        if self._settings.resume == "new" or (self._settings.resume == "auto" and not state.is_file()):
            self._results.forget()
            return
        if not state.is_file():
            raise ResumeError(f"resume=must, but there is no {state}")
        saved = read_checkpoint(state)
        if (found := non_finite_value(saved)) is not None:
            raise CheckpointError(
                f"{state}: {found}: begin anew with resume=new, or choose another out=<folder>"
            )
        self._trainer.load_state(saved)
        log.info("resumed from step %d of %s", self._trainer.step, self._settings.out)


class Results:
    """The evaluations of a training, kept in evaluations.jsonl."""

    def __init__(self, settings: TrainBaseConfig) -> None:
        self._path = settings.folder / "evaluations.jsonl"
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        points = [Evaluated(**json.loads(line)) for line in lines]
        self.best = max(points, key=lambda point: (point.success or 0, point.step), default=None)
        self.newest_step = points[-1].step if points else 0
        """Of the newest evaluation, whether it has ended or not."""

    def add(self, result: Evaluated) -> bool:
        """Keep a result; True if it is the best so far."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": result.step, "success": result.success}) + "\n")
        is_best = self.best is None or (result.success or 0) >= (self.best.success or 0)
        if is_best:
            self.best = result
        return is_best

    def forget(self) -> None:
        """Begin without any."""
        self._path.unlink(missing_ok=True)
        self.best, self.newest_step = None, 0

    def __str__(self) -> str:
        """The best one, to be added to a line; nothing before the first."""
        if self.best is None or self.best.success is None:
            return ""
        return f", best success {self.best.success:.0%} at step {self.best.step}"


def require_own_folder(settings: TrainBaseConfig) -> None:
    """Raise ResumeError if `out` holds a base whose training cannot be resumed: it would be lost."""
    finished = (settings.folder / "checkpoints" / "best.pt").is_file()
    if finished and settings.resume != "new" and not (settings.folder / "training.pt").is_file():
        raise ResumeError(
            f"{settings.out} holds a finished base: choose another out=<folder>, or resume=new to replace it"
        )


def _arguments(settings: TrainBaseConfig) -> dict[str, Any]:
    """What args.json says beyond the network: how it was trained."""
    ours = {
        "out", "resume", "device", "processes", "threads", "evaluation", "wandb", "save_every", "task",
        "keep_demos",
    }  # fmt: skip
    return {key: value for key, value in msgspec.to_builtins(settings).items() if key not in ours}
