"""Laws of the columns of experience: what the definition says is what is sent, checked and documented."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.arrays import Columns, Limits, ProtocolError
from protocol.codec import decode_from_client, encode
from protocol.experience import (
    COLUMNS,
    LARGEST_VALUE,
    ExperienceCheck,
    columns_of,
    describe_columns,
    zeros,
)
from protocol.messages import Experience
from tests.support.optional_columns import OPTIONAL, declare, offered
from tests.support.spec import SPEC, make_spec
from tests.support.wire import make_columns

CHECK = ExperienceCheck(SPEC)
LIMITS = Limits(max_header_bytes=4096, max_arrays=64, max_rank=5, max_message_bytes=1 << 20)


def test_the_page_has_the_table_of_columns(repository: Path) -> None:
    """Print it with `python -m protocol.experience`."""
    assert describe_columns() in (repository / "docs/reference/protocol.md").read_text()


def test_no_row_has_more_bytes_than_the_spec_says() -> None:
    for spec in (SPEC, make_spec(cameras={"top": (16, 32)}, residual_every=1)):
        for ends in (0, 3, 7):
            assert sum(each.nbytes for each in zeros(spec, rows=7, ends=ends).values()) <= 7 * spec.row_bytes


@pytest.fixture
def optional_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch)


def test_an_optional_column_is_recorded_sent_and_checked(optional_columns: None) -> None:
    names = tuple(column.name for column in OPTIONAL)
    spec = make_spec(observation_dim=3, action_dim=2, optional_columns=names)
    columns = offered(spec)
    ExperienceCheck(spec)(columns)
    message = Experience(session=1, sequence=0, columns=columns)
    received = decode_from_client([bytes(frame) for frame in encode(message, LIMITS)], LIMITS).columns
    ExperienceCheck(spec)(received)
    first = received["sub_env"] == 0
    assert received["frames"][first].tolist() == [4, 3, 3]
    assert received["log_probability"][first].tolist() == [-4, -7, -10]
    assert received["intervened"][first].tolist() == [
        [False, True, False, True],
        [False, True, False, False],
        [True, False, True, False],
    ]
    assert received["feature"][first].shape == (3, 4, 2, 2)
    assert received["feature"][first][:, 0, 0, 0].tolist() == [4, 7, 10]


def test_an_optional_column_that_the_spec_does_not_name_is_nowhere(optional_columns: None) -> None:
    spec = make_spec(observation_dim=3, action_dim=2)
    assert offered(spec).keys() == {column.name for column in COLUMNS if not column.optional}
    named = make_spec(observation_dim=3, action_dim=2, optional_columns=("feature",))
    assert named.row_bytes - spec.row_bytes == 4 * 4 * 2 * 2
    with pytest.raises(ProtocolError, match=r"unknown: \['feature'\]"):
        ExperienceCheck(spec)(offered(named))
    with pytest.raises(ProtocolError, match=r"missing: \['feature'\]"):
        ExperienceCheck(named)(offered(spec))


def test_an_optional_column_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no optional columns: \['feature'\]; there are "):
        columns_of(make_spec(optional_columns=("feature",)))


def set_value(name: str, place: Any, value: float) -> Callable[[Columns], None]:
    return lambda columns: columns[name].__setitem__(place, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("reward"), r"columns missing: \['reward'\], unknown: none"),
        (lambda c: c.update(extra=np.zeros(1)), r"columns missing: none, unknown: \['extra'\]"),
        (lambda c: c.update(frames=np.zeros((), np.int32)), "frames has shape"),
        (lambda c: c.update({n: a[:0] for n, a in c.items()}), r"frames has shape \(0,\)"),
        (lambda c: c.update(reward=c["reward"].astype(np.float64)), "reward is float64"),
        (lambda c: c.update(action=c["action"][:, :3]), r"action is float32 \(8, 3, 3\), expected"),
        (lambda c: c.update(episode=c["episode"][:4]), r"episode is int64 \(4,\), expected int64 \(8,\)"),
        (set_value("observation", (2, 1, 3), np.inf), r"observation\[2, 1, 3\] is inf"),
        (set_value("reward", (7, 3), np.nan), r"reward\[7, 3\] is nan"),
        (set_value("final_observation", (0, 1), np.nan), r"final_observation\[0, 1\] is nan"),
        (set_value("frames", 5, 0), r"frames\[5\] is 0, allowed are 1 .. 4"),
        (set_value("frames", 5, 5), r"frames\[5\] is 5, allowed are 1 .. 4"),
        (set_value("sub_env", 1, -1), r"sub_env\[1\] is -1"),
        (set_value("final_row", 0, 6), r"final_row is \[6\], but rows \[7\] are terminated or truncated"),
        (set_value("terminated", 2, True), r"final_row is \[7\], but rows \[2, 7\]"),
    ],
)
def test_what_is_wrong_with_experience_is_said(change: Callable[[Columns], None], says: str) -> None:
    columns = make_columns(0)
    CHECK(columns)
    change(columns)
    with pytest.raises(ProtocolError, match=says):
        CHECK(columns)


def test_many_large_values_are_accepted_and_one_beyond_the_bound_is_not() -> None:
    columns = make_columns(0)
    columns["observation"][:] = 0.99 * LARGEST_VALUE
    CHECK(columns)
    columns["observation"].flat[0] = -3e38  # its square is infinite
    with pytest.raises(ProtocolError, match=r"observation\[0, .* is -3e\+38, not a number below 1e\+09"):
        CHECK(columns)
