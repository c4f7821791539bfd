"""What one planning process does: plan a part's seeds, convert the solutions, say what happened.

Runs in the environment of `launch/demos.sh`, with numpy 1 and the motion planner.
"""

import json
import logging
import multiprocessing
import os
import queue
import shutil
import threading
from pathlib import Path
from typing import Any

from tqdm import tqdm

from actor.simulators.headless import prepare_simulator
from config.process import PLAIN, set_up_logging
from launch.demos.disturbance import disturbed, failures_forgotten
from launch.demos.parts import PLANNED, SEEDS_PER_PART, Part, converted_name, finish_part

log = logging.getLogger(__name__)


def work(
    task: str, control_mode: str, keep: str, noise: float, log_path: Path, tasks: Any, events: Any
) -> None:
    """Make the parts (first seed, place) that come from the queue `tasks`, as long as the parent lives.

    Puts ("attempt", succeeded) into `events` for each seed and ("part", first seed) for each part.
    """
    os.nice(5)
    # ManiSkill's own bars and the planner's warnings would tear the one bar that there is.
    output = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    set_up_logging(PLAIN)
    tqdm.set_lock(threading.RLock())  # its default is a semaphore that outlives this process
    render_backend = prepare_simulator()
    while (given := _next_part(tasks)) is not None:
        first_seed, place = given
        fresh = place.with_name(f"{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        successes = _plan(task, render_backend, keep, first_seed, fresh, events)
        if successes or keep == "all":
            convert(fresh / f"{PLANNED}.h5", control_mode, keep, noise, first_seed)
        converted = fresh / f"{converted_name(control_mode)}.json"
        survived = len(json.loads(converted.read_text())["episodes"]) if converted.is_file() else 0
        finish_part(fresh, place, Part(first_seed, SEEDS_PER_PART, successes, survived))
        events.put(("part", first_seed))


def _next_part(tasks: Any) -> tuple[int, Path] | None:
    """What to make next; None when nobody is there any more to ask for it."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        try:
            return tasks.get(timeout=2)
        except queue.Empty:
            continue
    return None


def _plan(task: str, render_backend: str, keep: str, first_seed: int, folder: Path, events: Any) -> int:
    """Plan a part's seeds into `folder`; returns how many were solved."""
    import gymnasium
    from mani_skill.examples.motionplanning.panda.run import MP_SOLUTIONS
    from mani_skill.utils.wrappers.record import RecordEpisode

    simulator: Any = gymnasium.make(
        task,
        obs_mode="none",
        control_mode="pd_joint_pos",
        sim_backend="physx_cpu",
        render_backend=render_backend,
    )
    env = RecordEpisode(
        simulator,
        output_dir=str(folder),
        trajectory_name=PLANNED,
        save_video=False,
        record_reward=False,
        save_on_reset=False,
        source_type="motionplanning",
    )
    successes = 0
    for seed in range(first_seed, first_seed + SEEDS_PER_PART):
        succeeded = plan_one(MP_SOLUTIONS[task], env, seed)
        env.flush_trajectory(save=succeeded or keep == "all")
        successes += succeeded
        events.put(("attempt", succeeded))
    env.close()
    return successes


def plan_one(solve: Any, env: Any, seed: int) -> bool:
    """Whether the planner solved the episode of this seed."""
    try:
        result = solve(env, seed=seed, debug=False, vis=False)
    except (RuntimeError, ValueError, IndexError, AttributeError) as error:
        # The solvers index into plans that failed; every such failure is one failed attempt.
        log.info("seed %d: the planner failed: %s", seed, error)
        return False
    return not isinstance(result, int) and bool(result[-1]["success"].item())


def convert(planned: Path, control_mode: str, keep: str, noise: float = 0.0, seed: int = 0) -> None:
    """Replay `planned` in `control_mode` with state observations, beside the original.

    Args:
        noise: of the pushes that disturb it, see `launch.demos.disturbance`.
        seed: of these.
    """
    from mani_skill.trajectory import replay_trajectory

    with failures_forgotten(), disturbed(control_mode, noise, seed):
        replay_trajectory.main(
            replay_trajectory.Args(
                traj_path=str(planned),
                use_first_env_state=True,
                target_control_mode=control_mode,
                obs_mode="state",
                save_traj=True,
                allow_failure=keep == "all",
                sim_backend="physx_cpu",
            )
        )
