"""What the commands do, for notebooks and programs: `from launch.api import run, evaluate, load_policy`.

    finished = run(["task=pick_cube", "learner.total_frames=20000"], show=print)
    print(finished.base, finished.final)
    evaluate(finished.folder, episodes=200, first_seed=2_000_000)
    policy = load_policy(finished.folder)

Names are those of the commands: a run (its name under runs/, or its folder), a checkpoint, a folder with a
base, a LeRobot policy, `hf:owner/name`, `wandb:entity/project/name:alias`. Overrides are the same `key=value`
words, as a list, or as a mapping: `{"learner.total_frames": 20000, "learner.demos": None}`.

Errors are those of `config.process`, of one line each: UsageError (ConfigError is one kind) for what cannot
be done as asked, FailedError for what was started and failed. What commands say goes to `logging`: nothing
is printed but the progress bar of an evaluation, on a terminal. No signal is caught: KeyboardInterrupt ends
what was started.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from config.cluster import LocalConfig
from config.compose import compose_launch
from config.main import Config
from config.process import USAGE_ERROR, FailedError, StopRequest, UsageError
from launch.cli.verb import is_override
from launch.share.elsewhere import is_elsewhere, local_copy, residual_in, with_local_copies
from launch.show.settings import hydra_value
from learner.intervals import wilson_interval

if TYPE_CHECKING:
    from launch.evaluation.subject import Subject
    from launch.loaded_policy import LoadedPolicy

log = logging.getLogger("launch")

Overrides = Sequence[str] | Mapping[str, Any]
Name = str | Path


class Success(NamedTuple):
    """A success rate with its 95 % interval (Wilson)."""

    rate: float
    low: float
    high: float
    episodes: int

    @classmethod
    def of(cls, rate: float | None, episodes: int) -> Self | None:
        """None: it was not measured."""
        return None if rate is None else cls(rate, *wilson_interval(rate, episodes), episodes)

    def __str__(self) -> str:
        return f"{self.rate:.0%} ({self.low:.0%} to {self.high:.0%}) of {self.episodes} episodes"


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over."""

    folder: Path
    """A name for `evaluate` and `load_policy`."""
    base: Success | None
    """Of the base alone. None: not measured, as by algo=collect."""
    final: Success | None
    """At the end, in the same way."""
    frames: int
    config: Config
    summary: Mapping[str, Any]
    """summary.json: docs/reference/run-folder.md."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that is over."""

    success: Success
    successes: Mapping[int, bool]
    """Seed -> whether its episode succeeded."""
    mean_frames: float
    """Mean length of an episode."""
    config: Config


def run(overrides: Overrides = (), *, show: Callable[[str], object] | None = None) -> FinishedRun:
    """One run on this machine, from start to summary, as `residual-rl run`; returns once it is over.

    KeyboardInterrupt ends its processes within ten seconds; the same call, with a `name`, goes on with it.

    Args:
        show: is called with each line of the run's processes, as `show=print`; all are in the folder's logs/.

    Raises UsageError: it cannot be started like this. FailedError: it ended early."""
    from launch.run.folder import read_summary  # these take seconds

    words = _words(overrides)
    asked = compose_launch(words)
    if not isinstance(asked.cluster, LocalConfig):
        raise UsageError("run starts a run on this machine: leave cluster=... to residual-rl run and submit")
    config, errors = asked.run, list[str]()

    def echo(name: str, line: str) -> None:
        (log.info if show is None else show)(f"{name:<9} | {line}")
        if line.startswith("error: "):
            errors.append(line.removeprefix("error: "))

    code = _launch(config, words, echo)
    summary = read_summary(config.run_dir)
    if code or summary is None:
        kind = UsageError if code == USAGE_ERROR else FailedError
        why = errors[-1] if errors else f"exit code {code}, its logs are in {config.run_dir / 'logs'}"
        raise kind(f"run {config.name} ended early: {why}")
    episodes = config.learner.evaluation.episodes
    base, final = (Success.of(summary.get(f"{name}_success"), episodes) for name in ("base", "final"))
    return FinishedRun(config.run_dir, base, final, summary["frames"], config, summary)


def evaluate(
    policy: Name | None = None,
    overrides: Overrides = (),
    *,
    episodes: int | None = None,
    first_seed: int | None = None,
    processes: int | None = None,
    residual: Name | None = None,
    base_alone: bool = False,
) -> Evaluation:
    """Success over fixed seeds, in several processes, as `residual-rl evaluate`, and kept as there.

    Args:
        policy: None: the base that the overrides say.
        episodes, first_seed: seeds first_seed, first_seed + 1, ...; None: as in `learner.evaluation`.
        processes: how many play; None: one for each processor.
        residual: a checkpoint that plays instead of the run's best.
        base_alone: without a residual.

    Raises UsageError: it cannot be played. FailedError: a process failed."""
    subject = _subject(policy, overrides, residual, base_alone)
    from launch.evaluation.evaluate import Asked
    from launch.evaluation.evaluate import evaluate as play

    asked = Asked(episodes=episodes, first_seed=first_seed, processes=processes)
    played = play(subject, asked, StopRequest())
    assert played is not None, "nobody sets the request to stop"
    kept, result = played.kept, played.result
    return Evaluation(
        Success(kept.success, kept.low, kept.high, kept.episodes),
        dict(zip(result.seeds, result.successes, strict=True)),
        kept.mean_frames,
        subject.config,
    )


def load_policy(
    policy: Name | None = None,
    overrides: Overrides = (),
    *,
    num_envs: int = 1,
    residual: Name | None = None,
    base_alone: bool = False,
) -> "LoadedPolicy":
    """A policy to act with, in this process: names and arguments as of `evaluate`.

    Args:
        num_envs: sub-environments that it acts in side by side.

    Raises UsageError: there is no such policy, or it cannot be used."""
    subject = _subject(policy, overrides, residual, base_alone)
    from launch.loaded_policy import load

    return load(subject, num_envs)


def _launch(config: Config, words: Sequence[str], echo: Callable[[str, str], None]) -> int:
    """As `launch.run.launcher.launch`, without tmux and signals."""
    from launch.run import launcher  # takes seconds
    from launch.run.inputs import require_inputs
    from launch.run.startable import startable

    config, stop = startable(config), StopRequest()
    require_inputs(config, stop)
    with launcher.sole_starter(config), launcher.sole_launcher(config):
        launch_file = launcher.write_launch_file(config)
        launcher.note_machine(config, ["run", *words])
        return launcher.run_here(config, launch_file, stop, echo=echo)


def _subject(policy: Name | None, overrides: Overrides, residual: Name | None, base_alone: bool) -> "Subject":
    from launch.evaluation.subject import find_subject  # takes seconds

    words, own = _words(overrides), None if residual is None else _residual_at(str(residual))
    return find_subject(None if policy is None else str(policy), words, own, base_alone)


def _residual_at(name: str) -> Path:
    path = residual_in(local_copy(name), name) if is_elsewhere(name) else Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"no residual {path}: name one, such as runs/NAME/checkpoints/best.safetensors")
    return path


def _words(overrides: Overrides) -> list[str]:
    """As the command line has them, with local copies of what lies elsewhere."""
    if isinstance(overrides, str):
        raise UsageError(f"overrides are a list of words or a mapping: [{overrides!r}]")
    pairs = overrides.items() if isinstance(overrides, Mapping) else ()
    words = [f"{key}={hydra_value(value)}" for key, value in pairs] or [*overrides]
    if wrong := [word for word in words if not is_override(word)]:
        raise UsageError(f"{wrong[0]!r} is no key=value")
    return [with_local_copies(word) for word in words]
