"""Dimensions of a task: python -m actor.simulators.dimensions <env_id> <control_mode>, printed as a pair.

Builds one simulator on the processor, asks it and ends. `actor.policy.dimensions` calls this for tasks that
config/spaces.yaml does not know.
"""

from __future__ import annotations

import argparse
import json
import sys

from actor.simulators.contract import TaskError, require_unit_actions
from actor.simulators.headless import prepare_simulator
from actor.simulators.maniskill import make_maniskill, require_task


def state_dimensions(env_id: str, control_mode: str) -> tuple[int, int]:
    """Numbers of a state observation and of an action.

    Raises:
        TaskError: ManiSkill does not know or cannot build it, or its actions leave [-1, 1].
    """
    require_task(env_id)
    env = make_maniskill(
        env_id, num_envs=1, obs_mode="state", control_mode=control_mode, sim_backend="physx_cpu",
        render_backend=prepare_simulator(),
    )  # fmt: skip
    try:
        space = env.unwrapped.single_action_space  # type: ignore[attr-defined]
        require_unit_actions(space)
        return env.unwrapped.single_observation_space.shape[0], space.shape[0]  # type: ignore[attr-defined]
    finally:
        env.close()


def main(words: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m actor.simulators.dimensions", description=__doc__)
    parser.add_argument("env_id", help="such as RotateValveLevel0-v1")
    parser.add_argument("control_mode", help="such as pd_joint_delta_pos")
    given = parser.parse_args(words)
    try:
        sizes = state_dimensions(given.env_id, given.control_mode)
    except TaskError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    sys.stdout.write(json.dumps(sizes) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
