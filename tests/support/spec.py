"""The experience spec of tests that need no particular one."""

from typing import Any

import msgspec

from protocol.experience import ExperienceSpec

SPEC = ExperienceSpec(
    env_id="PickCube-v1", control_mode="pd_ee_delta_pose", observation_dim=5, action_dim=3, act_horizon=8,
    residual_every=4, base_fingerprint="abc", residual_scale=0.1, policy="deterministic obs [256, 256]",
)  # fmt: skip


def make_spec(**changes: Any) -> ExperienceSpec:
    """The same with some fields changed."""
    return msgspec.structs.replace(SPEC, **changes)
