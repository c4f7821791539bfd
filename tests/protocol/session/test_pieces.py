"""Content in pieces: what was lost is asked for again, and nothing is whole that is not what was sent."""

import msgspec
import numpy as np
import pytest

from protocol.arrays import ProtocolError
from protocol.session.pieces import IN_FLIGHT, PIECE_BYTES, Blob, PieceFetch, piece_asked, topic_of

CONTENT = np.random.default_rng(0).bytes(5 * PIECE_BYTES + 77)
OTHER = np.random.default_rng(1).bytes(2 * PIECE_BYTES)
ROOM, PATIENCE_S = 10 * PIECE_BYTES, 1.0


def serve(fetch: PieceFetch, blob: Blob, now_s: float, lost: int = 0) -> list[int]:
    """Answer what is asked for, but for the first `lost` pieces; returns their numbers."""
    asked = [piece_asked(topic) for topic in fetch.due(now_s)[0]]
    numbers = [number for digest, number in filter(None, asked) if digest == blob.digest]
    for number in numbers[lost:]:
        piece = blob.piece(number)
        assert piece is not None
        fetch.receive(topic_of(blob.digest, number), piece, now_s)
    return numbers


def test_pieces_are_asked_for_a_few_at_once_and_make_the_content() -> None:
    fetch, blob = PieceFetch(ROOM, PATIENCE_S), Blob(CONTENT)
    fetch.announce(blob.announced(4))
    assert serve(fetch, blob, 0, lost=IN_FLIGHT) == [0, 1, 2] and serve(fetch, blob, 0.5) == []
    assert serve(fetch, blob, 1.5) == [0, 1, 2]
    assert serve(fetch, blob, 1.5) == [3, 4, 5]
    whole = fetch.take()
    assert whole is not None and whole.content == CONTENT and whole.base.version == 4
    assert fetch.take() is None
    fetch.announce(blob.announced(9))  # the same content, by a learner that was started again
    assert fetch.due(2)[0] == []


def test_what_was_asked_for_is_dropped_once_it_is_there_or_lost() -> None:
    fetch, blob = PieceFetch(ROOM, PATIENCE_S), Blob(OTHER)
    fetch.announce(blob.announced(1))
    first, dropped = fetch.due(0)
    assert dropped == [] and len(first) == 2
    fetch.receive(first[0], blob.piece(0) or b"", 0)
    assert fetch.due(0.1) == ([], [first[0]])
    assert fetch.due(1.5) == ([first[1]], [first[1]])


def test_pieces_stay_across_a_learner_that_was_away() -> None:
    fetch, blob = PieceFetch(ROOM, PATIENCE_S), Blob(CONTENT)
    fetch.announce(blob.announced(1))
    serve(fetch, blob, 0)
    fetch.announce(blob.announced(7))
    assert serve(fetch, blob, 60) == [3, 4, 5]
    whole = fetch.take()
    assert whole is not None and (whole.base.version, whole.content) == (7, CONTENT)


def test_a_fetch_goes_on_while_pieces_come_and_then_the_newest_is_fetched() -> None:
    fetch, blob, newer = PieceFetch(ROOM, PATIENCE_S), Blob(CONTENT), Blob(OTHER)
    fetch.announce(blob.announced(1))
    serve(fetch, blob, 0)
    fetch.announce(newer.announced(2))
    assert serve(fetch, blob, 0) == [3, 4, 5]
    first = fetch.take()
    assert serve(fetch, newer, 0) == [0, 1]
    second = fetch.take()
    assert first is not None and second is not None
    assert (first.base.version, second.base.version, second.content) == (1, 2, OTHER)


def test_what_does_not_come_any_more_is_given_up_for_the_newest() -> None:
    fetch, blob, newer = PieceFetch(ROOM, PATIENCE_S), Blob(CONTENT), Blob(OTHER)
    fetch.announce(blob.announced(1))
    serve(fetch, blob, 0)
    fetch.announce(newer.announced(2))
    fetch.due(0)
    # Each time after twice as long, and the third time the newest.
    assert fetch.due(2)[0] and fetch.due(5)[0] and serve(fetch, newer, 5) == []
    assert serve(fetch, newer, 10) == [0, 1]
    whole = fetch.take()
    assert whole is not None and whole.content == OTHER


def test_on_a_slow_connection_nothing_is_asked_for_twice_while_pieces_come() -> None:
    fetch, blob = PieceFetch(ROOM, PATIENCE_S), Blob(CONTENT)
    fetch.announce(blob.announced(1))
    asked = fetch.due(0)[0]
    for number, topic in enumerate(asked):
        now_s = 0.9 * PATIENCE_S * (number + 1)
        fetch.receive(topic, blob.piece(number) or b"", now_s)
        asked += fetch.due(now_s)[0]
    assert fetch.take() is not None and len(asked) == len({*asked}) == 6


def test_what_does_not_come_is_asked_for_ever_more_seldom_up_to_a_limit() -> None:
    fetch = PieceFetch(ROOM, PATIENCE_S)
    fetch.announce(Blob(OTHER).announced(1))
    assert [now_s for now_s in range(60) if fetch.due(now_s)[0]] == [0, 2, 5, 10, 19, 36, 53]


def test_content_that_is_not_what_was_announced_is_fetched_again() -> None:
    fetch, blob = PieceFetch(ROOM, PATIENCE_S), Blob(OTHER)
    fetch.announce(blob.announced(1))
    for topic in fetch.due(0)[0]:
        fetch.receive(topic, bytes(PIECE_BYTES), 0)
    with pytest.raises(ProtocolError, match="base v1: the digest is wrong"):
        fetch.take()
    serve(fetch, blob, 0)
    whole = fetch.take()
    assert whole is not None and whole.content == OTHER


def test_pieces_that_nobody_asked_for_do_no_harm() -> None:
    fetch, blob = PieceFetch(ROOM, PATIENCE_S), Blob(OTHER)
    fetch.receive(topic_of(blob.digest, 0), blob.piece(0) or b"", 0)
    fetch.announce(blob.announced(1))
    fetch.due(0)
    for topic, data in ((b"base/", b""), (topic_of("0" * 64, 0), bytes(PIECE_BYTES)),
                        (topic_of(blob.digest, 5), b""), (topic_of(blob.digest, 1), b"short")):  # fmt: skip
        fetch.receive(topic, data, 0)
    assert fetch.take() is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"bytes": ROOM + 1}, "at most"), ({"bytes": 0}, "at most"), ({"piece_bytes": 1}, "cannot be used"),
     ({"digest": "../x"}, "cannot be used")],
)  # fmt: skip
def test_an_announcement_that_asks_for_too_much_is_refused(changes: dict[str, object], says: str) -> None:
    base = msgspec.structs.replace(Blob(OTHER).announced(1), **changes)
    fetch = PieceFetch(ROOM, PATIENCE_S)
    with pytest.raises(ProtocolError, match=says):
        fetch.announce(base)
    assert fetch.due(0) == ([], [])
