"""Pictures with captions, side by side."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from launch.show.film.player import Picture, Shot

HEADER, FOOTER, MARGIN, BORDER = 42, 20, 6, 4
"""Heights above and below a picture, and widths, in pixels."""
BACKGROUND, TEXT, FAINT = (24, 26, 30), (240, 240, 240), (160, 164, 172)
BAR, TROUGH = (242, 153, 46), (64, 68, 76)
SUCCESS, FAILURE = (38, 166, 91), (204, 62, 54)
# Seconds that the last picture stays.
_HOLD_S = 1.5


@dataclass(frozen=True)
class Take:
    """An episode as it was played, and what is written on it."""

    title: str
    version: int | None
    """Of the weights; None: the base alone."""
    seed: int
    shots: Sequence[Shot]
    evaluated: bool | None
    """Whether the seed succeeded when it was evaluated; None: nobody knows."""

    @property
    def success(self) -> bool:
        return self.shots[-1].success

    @property
    def frames(self) -> int:
        return self.shots[-1].frame

    @property
    def as_evaluated(self) -> bool | None:
        return None if self.evaluated is None else self.evaluated == self.success

    def at(self, frame: int) -> Shot:
        """The newest moment at `frame`; after the end the last one."""
        return self.shots[bisect_right(self.shots, frame, key=lambda shot: shot.frame) - 1]


def pictures(takes: Sequence[Take], every: int, fps: int) -> Iterator[Picture]:
    """The film of some takes side by side, from the first moment until the longest has ended."""
    last = max(take.frames for take in takes)
    for frame in range(0, last + every, every):
        yield _row([panel(take, take.at(frame)) for take in takes])
    final = _row([panel(take, take.shots[-1]) for take in takes])
    for _ in range(round(_HOLD_S * fps)):
        yield final


def panel(take: Take, shot: Shot) -> Image.Image:
    """A picture with its caption above, the residual's size below, and the outcome once it is known."""
    height, width, _ = shot.picture.shape
    image = Image.new("RGB", (width, HEADER + height + FOOTER), BACKGROUND)
    image.paste(Image.fromarray(shot.picture), (0, HEADER))
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 4), take.title, TEXT, _font(17))
    draw.text((width - MARGIN, 6), f"seed {take.seed}", FAINT, _font(13), anchor="ra")
    draw.text((MARGIN, 25), f"frame {shot.frame}", FAINT, _font(13))
    weights = "" if take.version is None else f"weights v{take.version}"
    draw.text((width - MARGIN, 25), weights, FAINT, _font(13), anchor="ra")
    _draw_bar(draw, HEADER + height, width, shot.residual)
    if shot.ended:
        _draw_outcome(draw, take, shot)
    return image


def _draw_bar(draw: ImageDraw.ImageDraw, top: int, width: int, share: float) -> None:
    draw.text((MARGIN, top + 3), "residual", FAINT, _font(12))
    left, right = bar_ends(width)
    draw.rectangle((left, top + 5, right, top + 14), TROUGH)
    if share > 0:
        draw.rectangle((left, top + 5, left + round(min(share, 1) * (right - left)), top + 14), BAR)


def bar_ends(width: int) -> tuple[int, int]:
    """Where the residual's bar begins and ends, in a panel of this width."""
    return min(60, width // 2), width - MARGIN


def _draw_outcome(draw: ImageDraw.ImageDraw, take: Take, shot: Shot) -> None:
    height, width, _ = shot.picture.shape
    colour = SUCCESS if shot.success else FAILURE
    box = (0, HEADER, width - 1, HEADER + height - 1)
    draw.rectangle(box, outline=colour, width=BORDER)
    said = f"success at frame {shot.frame}" if shot.success else f"no success in {shot.frame} frames"
    if take.as_evaluated is False:
        said += f", evaluated as a {'success' if take.evaluated else 'failure'}"
    end = draw.textbbox((MARGIN + BORDER, 0), said, font=_font(14))[2]
    draw.rectangle((0, HEADER + height - 26, end + MARGIN, HEADER + height - 1), colour)
    draw.text((MARGIN, HEADER + height - 22), said, TEXT, _font(14))


def _row(panels: Sequence[Image.Image]) -> Picture:
    """Side by side, with widths and heights that are even, as H.264 wants them."""
    width = sum(each.width for each in panels) + BORDER * (len(panels) - 1)
    height = max(each.height for each in panels)
    image = Image.new("RGB", (width + width % 2, height + height % 2), BACKGROUND)
    left = 0
    for each in panels:
        image.paste(each, (left, 0))
        left += each.width + BORDER
    return np.asarray(image)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
