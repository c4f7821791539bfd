"""Matrix products of float32 at the speed of the processor."""

import logging

import torch

log = logging.getLogger(__name__)


def use_fast_products() -> bool:
    """Let torch multiply float32 matrices with oneDNN on the CPU, where that changes no result.

    Torch's own choice, MKL, leaves AVX-512 unused on AMD: 116 GFLOP/s against 263.
    The switch that leads to oneDNN also permits it to round inputs to bfloat16, which it does on
    processors with AMX alone. So what counts is what it does here: the products must stay as exact.

    Returns:
        Whether oneDNN is used.
    """
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(4, 256, 128, generator=generator)
    right = torch.randn(4, 128, 128, generator=generator)
    exact = torch.bmm(left.double(), right.double())
    plain_error = (torch.bmm(left, right) - exact).abs().max()
    torch.set_float32_matmul_precision("medium")
    fast_error = (torch.bmm(left, right) - exact).abs().max()
    if fast_error <= 2 * plain_error:
        return True
    torch.set_float32_matmul_precision("highest")
    log.info("matrix products stay with MKL: oneDNN rounds to bfloat16 on this processor")
    return False
