"""Laws of the pieces that are asked for: whoever asks for nonsense takes nobody's place."""

from learner.intake.pieces import Pieces
from protocol.session.pieces import PIECE_BYTES, Blob, topic_of


def test_pieces_that_do_not_exist_take_no_place_in_the_queue() -> None:
    pieces, blob = Pieces(), Blob(bytes(PIECE_BYTES + 1))
    pieces.offer(blob)
    for number in range(2, 5000):
        pieces.ask(topic_of(blob.digest, number))
    for nonsense in (b"", b"base/", b"base/x/1", topic_of("0" * 64, 0), topic_of(blob.digest, 10**12)):
        pieces.ask(nonsense)
    assert not pieces.waiting
    pieces.ask(topic_of(blob.digest, 1))
    [(topic, content)] = pieces.take(8)
    assert topic == topic_of(blob.digest, 1) and len(content) == 1
