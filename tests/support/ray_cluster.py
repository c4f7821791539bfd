"""Ray in tests: whether it is here, what it is told, and a small run on it."""

import importlib.util
import os

import psutil
import pytest

INSTALL = "bash launch/setup_env.sh ray"
# Tests leave no token in a person's home, and need no page of Ray's.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}  # fmt: skip
SMALL = (
    "base=zero", "learner.demos=null", "algo.prior_fraction=0", "tracking=[]", "learner.evaluation.videos=0",
    "learner.evaluation.episodes=4", "learner.evaluation.num_envs=2", "algo.learning_starts=100",
    "algo.critic_warmup_updates=20", "actor.num_envs=2", "actor.rows_per_batch=8", "learner.log_every_s=1",
    "cluster.actors=1",
)  # fmt: skip


def require_ray() -> None:
    """Skip the test where Ray is missing; with RESIDUAL_RL_ENGINES=1 (launch/test.sh sets it) fail."""
    if importlib.util.find_spec("ray") is None:
        refuse = pytest.fail if os.environ.get("RESIDUAL_RL_ENGINES") == "1" else pytest.skip
        refuse(f"Ray is not installed: {INSTALL}")


def set_up_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip or fail the test where Ray is missing; else tell Ray what it is told in tests."""
    require_ray()
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)


def family(process: int) -> list[psutil.Process]:
    """A process and all below it that are alive."""
    try:
        return [*psutil.Process(process).children(recursive=True), psutil.Process(process)]
    except psutil.NoSuchProcess:
        return []
