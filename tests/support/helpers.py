"""Configuration and policies for tests."""

import functools
import time
from pathlib import Path
from typing import Any

from actor.policy.contract import BasePolicy
from actor.policy.decorated import DecoratedPolicy
from actor.policy.residual import ResidualActor
from actor.rollout import Rollout
from actor.simulators.contract import VectorEnvironment
from config.compose import compose_config
from config.main import Config
from protocol.arrays import Columns
from tests.support.spec import make_spec

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def make_config(*overrides: str) -> Config:
    """The composed configuration, checked. The residual may change all action dimensions and sees no
    relations, since the fakes have fewer dimensions than the default task."""
    return compose_config(["algo.residual_dims=null", "algo.relations=[]", *overrides])


def make_policy(
    base: BasePolicy,
    config: Config,
    num_envs: int,
    residual_every: int,
    kind: type[DecoratedPolicy] = DecoratedPolicy,
    first_seed: int = 0,
    ladder: list[float] | None = None,
) -> DecoratedPolicy:
    """A policy over `base` with a fresh residual."""
    return kind(
        base,
        ResidualActor(config.algo, base.observation_dim, base.action_dim),
        num_envs=num_envs,
        residual_every=residual_every,
        residual_scale=config.algo.residual_scale,
        device="cpu",
        first_seed=first_seed,
        ladder=ladder,
    )


def make_rollout(
    envs: VectorEnvironment, policy: DecoratedPolicy, residual_every: int, **changes: Any
) -> Rollout:
    """A rollout with the columns of these sub-environments; `changes` are further fields of the spec."""
    sizes = {"observation_dim": envs.observation_dim, "action_dim": envs.action_dim}
    return Rollout(envs, policy, make_spec(residual_every=residual_every, **sizes, **changes))


def collect(rollout: Rollout, frames: int) -> Columns:
    """All decisions that close within `frames` frames."""
    for _ in range(frames):
        rollout.step()
    return rollout.take()


def left_running(session: int, timeout_s: float = 5.0) -> list[str]:
    """Command lines of `session`, a process id that was started with `start_new_session`: of itself and
    of everybody below it, simulator workers included. Waits for the last ones to go."""
    deadline = time.monotonic() + timeout_s
    while (found := _command_lines(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _command_lines(session: int) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
