"""Observation and action dimension of a task: python -m actor.simulators.dimensions <env_id> <control_mode>.

Builds one simulator on the CPU and prints both as a JSON list, or, as a string, why no run can play the task.
`actor.policy.dimensions` calls this for tasks that config/spaces.yaml does not know.
"""

import argparse
import json
import sys
from typing import Any

from actor.simulators.contract import UnplayableError
from actor.simulators.headless import prepare_simulator
from actor.simulators.maniskill import make_maniskill, require_playable, require_task
from config.process import run_main


def state_dimensions(env_id: str, control_mode: str) -> tuple[int, int]:
    """Observation and action dimension.
    Raises TaskError: ManiSkill does not know or cannot build it, or, UnplayableError, no run can play it."""
    require_task(env_id)
    env = make_maniskill(
        env_id, num_envs=1, obs_mode="state", control_mode=control_mode, sim_backend="physx_cpu",
        render_backend=prepare_simulator(),
    )  # fmt: skip
    try:
        maniskill: Any = env.unwrapped
        require_playable(env, env_id)
        return maniskill.single_observation_space.shape[0], maniskill.single_action_space.shape[0]
    finally:
        env.close()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m actor.simulators.dimensions", description=__doc__)
    parser.add_argument("env_id", help="such as RotateValveLevel0-v1")
    parser.add_argument("control_mode", help="such as pd_joint_delta_pos")
    given = parser.parse_args(argv)
    try:
        answer = state_dimensions(given.env_id, given.control_mode)
    except UnplayableError as error:
        answer = str(error)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    run_main(main)
