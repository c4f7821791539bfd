"""Ray in tests: whether it is here, and what it is told."""

import importlib.util
import os

import pytest

INSTALL = "bash launch/setup_env.sh ray"
# Tests leave no token in a person's home, and need no page of Ray's.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}  # fmt: skip


def require_ray() -> None:
    """Skip the test where Ray is missing; with RESIDUAL_RL_ENGINES=1 (launch/test.sh sets it) fail."""
    if importlib.util.find_spec("ray") is None:
        refuse = pytest.fail if os.environ.get("RESIDUAL_RL_ENGINES") == "1" else pytest.skip
        refuse(f"Ray is not installed: {INSTALL}")
