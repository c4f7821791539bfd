"""Fetch for tests: skipped where its packages are not installed."""

import importlib.util

import pytest

needs_fetch = pytest.mark.skipif(
    importlib.util.find_spec("gymnasium_robotics") is None or importlib.util.find_spec("mujoco") is None,
    reason="Fetch needs pip install -e '.[fetch]'",
)
