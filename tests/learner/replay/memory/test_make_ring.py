"""A replay in memory for which there is no room is refused in one line."""

import pytest

from config.compose import compose_config
from learner.folder import RunError
from learner.replay.run import make_ring
from tests.support.fakes import CountingBase


def test_a_capacity_beyond_all_memory_is_one_line_that_says_what_to_set() -> None:
    with pytest.raises(
        RunError, match=r"no memory on cpu for 10{15} rows .* set a lower learner\.replay_"
    ) as raised:
        make_ring(10**15, compose_config(["base=zero"]), CountingBase())
    assert "\n" not in str(raised.value)
