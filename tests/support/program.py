"""residual-rl in the process of a test."""

import os
import sys
from unittest import mock

import pytest

from launch.cli.main import main as entry
from launch.cli.verb import PROGRAM


def residual_rl(*words: str) -> int:
    """The exit code of `residual-rl words`; what it writes goes where this process writes."""
    with (
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", [PROGRAM, *words]),
        pytest.raises(SystemExit) as ended,
    ):
        entry()
    return ended.value.code or 0  # pyright: ignore[reportReturnType]
