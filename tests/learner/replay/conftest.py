"""Datasets that LeRobot's own, slow writer made, for tests that copy and change them."""

from pathlib import Path

import pytest

from tests.support.lerobot_datasets import make_lerobot


@pytest.fixture(scope="session")
def lerobot_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of two tasks. Copy it, never change it."""
    return make_lerobot(tmp_path_factory.mktemp("lerobot") / "dataset")


@pytest.fixture(scope="session")
def lerobot_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a camera. Copy it, never change it."""
    return make_lerobot(tmp_path_factory.mktemp("lerobot") / "videos", pictures="video")
