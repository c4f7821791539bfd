"""How the updates of a residual see pictures: one encoder, trained by the critics."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from actor.policy.pictures import PictureEncoder
from learner.ranks.ranks import Batch


class Looks(NamedTuple):
    """What encoders make of the pictures of a batch, (B, P) each."""

    now: Tensor
    """With gradient by the encoder."""
    later: Tensor
    """Of the pictures at the transitions' ends, by the encoder that follows slowly, without gradient."""


class Eyes:
    """The encoder of an actor, and the one that follows it slowly.

    Pictures are shifted at random in updates, those of each decision alike, as in DrQ-v2 (Yarats et al. 2021,
    arXiv 2107.09645).

    Args:
        shift: most pixels of a shift.
        rng: draws the shifts.
    """

    def __init__(self, encoder: PictureEncoder, shift: int, rng: torch.Generator) -> None:
        self.encoder, self._shift, self._rng = encoder, shift, rng
        self.target = copy.deepcopy(encoder).requires_grad_(False)

    def look(self, batch: Batch) -> Looks:
        """At a batch with `pictures` and `next_pictures`, (B, D, H, W)."""
        now, later = (shifted(batch[name], self._shift, self._rng) for name in ("pictures", "next_pictures"))
        with torch.no_grad():
            seen_later = self.target(later)
        return Looks(self.encoder(now), seen_later)

    def parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def clip_gradients(self, limit: float) -> None:
        nn.utils.clip_grad_norm_(self.encoder.parameters(), limit)

    @torch.no_grad()
    def track(self, share: float) -> None:
        """Go `share` of the way towards the encoder."""
        for target, source in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            target.lerp_(source, share)


def shifted(pictures: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Pictures (B, D, H, W), all channels of a row moved alike by up to `most` pixels; its edge fills what
    becomes free."""
    if most == 0:
        return pictures
    count, _, height, width = pictures.shape
    device = pictures.device
    by = torch.randint(-most, most + 1, (2, count, 1), generator=rng, device=device)
    down = (torch.arange(height, device=device) + by[0]).clamp(0, height - 1)
    across = (torch.arange(width, device=device) + by[1]).clamp(0, width - 1)
    rows = torch.arange(count, device=device)[:, None, None]
    # Indices on both sides of a slice put the indexed dimensions first: (B, H, W, D).
    return pictures[rows, :, down[:, :, None], across[:, None, :]].movedim(-1, 1)
