"""Batches in pieces of a fixed size, so that a row's result does not depend on the number of rows."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

TILE = 16
"""Rows of a piece."""


def in_tiles(function: Callable[..., Tensor], *inputs: Tensor, size: int = TILE) -> Tensor:
    """`function(*inputs)`, which must treat rows alike, with batches filled up with zeros.

    Torch chooses the order of a product's sums by the number of rows. On a CPU, `function` gets `size` rows
    at once; on a GPU all rows at once, filled up to one of a few sizes.
    """
    rows = inputs[0].shape[0]
    if inputs[0].is_cuda:
        size = padded(rows)
    filled = [_filled(tensor, -(-rows // size) * size) for tensor in inputs]
    if filled[0].shape[0] == size:
        return function(*filled)[:rows]
    pieces = zip(*(tensor.split(size) for tensor in filled), strict=True)
    return torch.cat([function(*piece) for piece in pieces])[:rows]


def padded(rows: int) -> int:
    """The batch size that `rows` are filled up to: 16, 32, 64, ..."""
    return max(TILE, 1 << (rows - 1).bit_length())


def _filled(tensor: Tensor, rows: int) -> Tensor:
    missing = rows - tensor.shape[0]
    return pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, missing)) if missing else tensor
