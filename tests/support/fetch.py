"""Tests of Fetch are skipped where its packages are not installed."""

import importlib.util

import pytest

INSTALL = "bash launch/setup_env.sh fetch"
MISSING = [name for name in ("gymnasium_robotics", "mujoco") if importlib.util.find_spec(name) is None]
needs_fetch = pytest.mark.skipif(bool(MISSING), reason=f"Fetch needs {', '.join(MISSING)}: {INSTALL}")
