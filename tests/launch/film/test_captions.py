"""Laws of the captions, by their pixels."""

import numpy as np
import pytest
from PIL import Image

from launch.show.film import captions
from launch.show.film.captions import BORDER, FAILURE, HEADER, SUCCESS, Take, panel, pictures
from launch.show.film.player import Shot

WIDTH, HEIGHT = 200, 120


def shot(frame: int, residual: float = 0.0, success: bool = False, ended: bool = False) -> Shot:
    return Shot(frame, np.full((HEIGHT, WIDTH, 3), 100 + frame, np.uint8), residual, success, ended)


def take(
    *shots: Shot, title: str = "base", version: int | None = None, evaluated: bool | None = None
) -> Take:
    return Take(title, version, 7, shots, evaluated)


def colours(image: Image.Image, top: int, bottom: int) -> set[tuple[int, ...]]:
    return set(map(tuple, np.asarray(image)[top:bottom].reshape(-1, 3).tolist()))


def share_of_bar(image: Image.Image) -> float:
    left, right = captions.bar_ends(WIDTH)
    row = np.asarray(image)[HEADER + HEIGHT + 10, left : right + 1]
    return float((row == captions.BAR).all(1).mean())


@pytest.mark.parametrize("residual", [0.0, 0.25, 1.0, 7.0])
def test_the_bar_is_as_long_as_the_residual_is_large(residual: float) -> None:
    image = panel(take(shot(0, residual)), shot(0, residual))
    assert share_of_bar(image) == pytest.approx(min(residual, 1.0), abs=0.01)
    assert (captions.TROUGH in colours(image, HEADER + HEIGHT, image.height)) == (residual < 1)


def test_the_picture_is_untouched_until_the_end_and_then_has_a_rim_that_tells_the_outcome() -> None:
    going = np.asarray(panel(take(shot(3)), shot(3)))[HEADER : HEADER + HEIGHT]
    assert (going == 103).all()
    for success, colour, other in ((True, SUCCESS, FAILURE), (False, FAILURE, SUCCESS)):
        last = shot(5, success=success, ended=True)
        image = panel(take(shot(0), last), last)
        rim = np.asarray(image)[HEADER : HEADER + BORDER]
        assert (rim == colour).all() and other not in colours(image, 0, image.height)


def test_what_is_written_depends_on_title_seed_frame_version_and_what_the_evaluation_said() -> None:
    end = shot(5, success=True, ended=True)
    images = [
        panel(take(end), end),
        panel(take(end, title="base + residual"), end),
        panel(take(end, version=3), end),
        panel(Take("base", None, 8, [end], None), end),
        panel(take(shot(6, success=True, ended=True)), shot(6, success=True, ended=True)),
        panel(take(end, evaluated=False), end),
    ]
    assert len({image.tobytes() for image in images}) == len(images)
    assert panel(take(end, evaluated=True), end).tobytes() == images[0].tobytes()
    assert all(len(colours(image, 0, HEADER)) > 2 for image in images)


def test_a_film_shows_both_side_by_side_and_the_one_that_has_ended_stays_as_it_was() -> None:
    short = take(shot(0), shot(2), shot(3, success=True, ended=True))
    long = take(*(shot(frame) for frame in range(0, 8, 2)), shot(8, ended=True))
    film = list(pictures([short, long], every=2, fps=10))
    assert {each.shape for each in film} == {(HEADER + HEIGHT + captions.FOOTER, 2 * WIDTH + BORDER, 3)}
    right = WIDTH + BORDER
    shown = [(each[HEADER + 50, 100, 0], each[HEADER + 50, right + 100, 0]) for each in film]
    moving = [(100, 100), (102, 102), (103, 104), (103, 106), (103, 108)]
    assert shown[:5] == moving and set(shown[5:]) <= {(103, 108)} and len(shown) >= 15
    assert (film[0][HEADER + 50, WIDTH : WIDTH + BORDER] == captions.BACKGROUND).all()


def test_widths_and_heights_are_even() -> None:
    odd = Shot(0, np.zeros((31, 33, 3), np.uint8), 0.0, False, True)
    film = list(pictures([take(odd)], every=1, fps=10))
    assert film[0].shape[0] % 2 == 0 and film[0].shape[1] % 2 == 0
