"""Motion-planned demonstrations, converted to state observations and another control mode.

Runs in an environment of its own (`launch/demos.sh` makes it), because the planner, mplib 0.1.1,
crashes with numpy 2. Hence no Hydra here: `key=value` arguments, checked by argparse.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from actor.headless import prepare_simulator

log = logging.getLogger("make_demos")


def parse_arguments(words: list[str]) -> argparse.Namespace:
    """Read `key=value` words, so that this script is called like every other one here."""
    parser = argparse.ArgumentParser(
        prog="launch/demos.sh", description=__doc__, usage="bash launch/demos.sh task=<id> [key=value ...]"
    )
    parser.add_argument("--task", default="PickCube-v1", help="ManiSkill task id")
    parser.add_argument("--episodes", type=int, default=100, help="successful episodes to keep")
    parser.add_argument("--out", type=Path, default=Path("demos"), help="folder to write to")
    parser.add_argument("--control_mode", default="pd_ee_delta_pose", help="of the converted actions")
    parser.add_argument("--first_seed", type=int, default=0, help="seed of the first episode tried")
    parser.add_argument("--max_attempts_per_episode", type=int, default=5)
    flags = [word if word.startswith("-") else f"--{word}" for word in words]
    return parser.parse_args(flags)


def plan(args: argparse.Namespace, render_backend: str) -> Path:
    """Plan until `args.episodes` succeeded; return the path of the recorded h5.

    Raises:
        SystemExit: the task has no planner, or too many attempts fail.
    """
    import gymnasium
    from mani_skill.examples.motionplanning.panda.run import MP_SOLUTIONS
    from mani_skill.utils.wrappers.record import RecordEpisode
    from tqdm import tqdm

    if args.task not in MP_SOLUTIONS:
        raise SystemExit(f"task={args.task} has no motion planner: choose one of {sorted(MP_SOLUTIONS)}")
    env = RecordEpisode(
        gymnasium.make(
            args.task,
            obs_mode="none",
            control_mode="pd_joint_pos",
            sim_backend="physx_cpu",
            render_backend=render_backend,
        ),
        output_dir=str(args.out / args.task),
        trajectory_name="planned",
        save_video=False,
        record_reward=False,
        save_on_reset=False,
        source_type="motionplanning",
    )
    kept = attempts = 0
    with tqdm(total=args.episodes, desc=f"planning {args.task}", file=sys.stdout, mininterval=2) as bar:
        while kept < args.episodes:
            if attempts >= args.episodes * args.max_attempts_per_episode:
                raise SystemExit(
                    f"{args.task}: only {kept} of {attempts} plans succeeded; "
                    "raise max_attempts_per_episode to go on"
                )
            succeeded = plan_one(MP_SOLUTIONS[args.task], env, seed=args.first_seed + attempts)
            env.flush_trajectory(save=succeeded)
            attempts += 1
            kept += succeeded
            bar.update(int(succeeded))
            bar.set_postfix(success=f"{kept / attempts:.0%}")
    env.close()
    return args.out / args.task / "planned.h5"


def plan_one(solve, env, seed: int) -> bool:
    """Whether the planner solved the episode of this seed."""
    try:
        result = solve(env, seed=seed, debug=False, vis=False)
    except (RuntimeError, ValueError, IndexError, AttributeError) as error:
        # The solvers index into plans that failed; every such failure is one failed attempt.
        log.info("seed %d: the planner failed: %s", seed, error)
        return False
    return not isinstance(result, int) and bool(result[-1]["success"].item())


def convert(planned: Path, control_mode: str) -> None:
    """Replay `planned` in `control_mode` with state observations, beside the original."""
    from mani_skill.trajectory import replay_trajectory

    replay_trajectory.main(
        replay_trajectory.Args(
            traj_path=str(planned),
            use_first_env_state=True,
            target_control_mode=control_mode,
            obs_mode="state",
            save_traj=True,
            sim_backend="physx_cpu",
        )
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = parse_arguments(sys.argv[1:])
    planned = plan(args, prepare_simulator())
    convert(planned, args.control_mode)
    converted = planned.with_name(f"planned.state.{args.control_mode}.physx_cpu.h5")
    log.info("demonstrations: %s", converted)


if __name__ == "__main__":
    main()
