"""What a run is made of, from its configuration: its folder, its replay on disk and in memory, prior data."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import msgspec

from actor.policy.contract import BasePolicy
from actor.policy.spec import recorded_cameras
from config.learner import LearnerConfig as LearnerConfig
from config.main import Config
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.ring import Ring
from learner.replay.prior.prior import PriorData, join_prior, read_prior


class RunError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


def make_run_dir(config: Config) -> Path:
    """The run's folder, new or that of a run that was stopped.

    Raises:
        RunError: the folder holds what `resume` does not allow, or a run that is over.
    """
    run_dir = config.run_dir
    held = (run_dir / "config.yaml").exists()
    if held and config.resume == "new":
        raise RunError(f"{run_dir} holds a run already: choose another name=<run>, or resume=auto")
    if not held and config.resume == "must":
        raise RunError(f"{run_dir} holds no run to resume: correct name=<run>, or resume=auto")
    if (run_dir / "summary.json").exists():
        raise RunError(f"{run_dir} holds a run that is over: choose another name=<run>")
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir


@contextlib.contextmanager
def sole_learner(run_dir: Path) -> Iterator[None]:
    """Hold the run's folder: two learners would cut each other's journal.

    Raises:
        RunError: another process holds it. The kernel lets go of it however that process ends.
    """
    with (run_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{run_dir} is in use by another learner: choose another name=<run>, or end that one"
            ) from None
        yield


def make_store(config: Config, run_dir: Path, base: BasePolicy) -> LeRobotStore:
    """The run's replay on disk. Raises RunError if the observation has too few numbers to part."""
    state_dim = config.learner.robot_state_dim
    if state_dim is not None and state_dim >= base.observation_dim:
        raise RunError(
            f"learner.robot_state_dim must be below {base.observation_dim}, the observation's numbers, "
            f"got {state_dim}: null keeps all of them in observation.state"
        )
    return LeRobotStore(
        run_dir / "replay",
        repo_id=config.name,
        observation_dim=base.observation_dim,
        action_dim=base.action_dim,
        fps=config.learner.fps,
        robot_type=config.learner.robot_type,
        task=config.task.env_id,
        queue_episodes=config.learner.store_queue_episodes,
        flush_s=config.learner.store_flush_s,
        state_dim=state_dim,
        budget=make_budget(config.learner),
        cameras=recorded_cameras(config),
        images=config.learner.record_images,
    )


def make_budget(settings: LearnerConfig) -> Budget:
    """How much of the replay stays on disk."""
    gigabytes = settings.replay_max_gb
    return Budget(None if gigabytes is None else gigabytes * 1e9, settings.replay_max_frames)


def load_prior(config: Config, base: BasePolicy) -> PriorData | None:
    """Episodes recorded earlier, or None where the recipe takes none.

    Raises:
        DemonstrationError, RunError: they are not there, or do not fit.
    """
    demos = config.learner.demos
    if config.algo.prior_fraction == 0 or demos is None:
        return None
    if base.cameras:
        raise RunError(
            f"base {config.base.path} looks at {', '.join(base.cameras)}, prior data gives it states alone: "
            "set learner.demos=null algo.prior_fraction=0"
        )
    sources = [demos] if isinstance(demos, str) else demos
    for source in sources:
        if source.endswith(".h5") and not Path(source).is_file():
            raise RunError(
                f"no prior data at {source}: name other demonstrations in learner.demos, make some with "
                "bash launch/demos.sh, or go without: learner.demos=null algo.prior_fraction=0"
            )
    plan_key = msgspec.json.encode(config.base).decode()
    fps = config.learner.fps
    return join_prior([read_prior(source, base, plan_key, config.algo, fps=fps) for source in sources])


def make_ring(capacity: int, config: Config, base: BasePolicy, *, images: bool = False) -> Ring:
    """A replay of the run's decisions, with the recorded cameras' images if there are any."""
    numbers = config.algo.residual_every * base.action_dim
    return Ring(
        capacity,
        base.observation_dim,
        numbers,
        device=config.learner.replay_device,
        cameras=recorded_cameras(config) if images else None,
    )


def make_prior_ring(prior: PriorData, config: Config, base: BasePolicy) -> Ring:
    """Prior data in a ring of their own, which they fill."""
    rows = len(prior.columns["frames"]) + len(prior.columns["final_row"])
    ring = make_ring(rows, config, base)
    ring.add("prior", prior.columns)
    return ring
