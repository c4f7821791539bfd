"""Fast matrix products are as exact as the plain ones."""

from collections.abc import Iterator

import pytest
import torch

from learner.algorithms.products import use_fast_products


@pytest.fixture(autouse=True)
def plain_products() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


def test_fast_products_lose_no_digit() -> None:
    left, right = torch.randn(3, 64, 98), torch.randn(3, 98, 128)
    exact = torch.bmm(left.double(), right.double())
    plain_error = (torch.bmm(left, right) - exact).abs().max()
    use_fast_products()
    assert (torch.bmm(left, right) - exact).abs().max() <= 2 * plain_error


def test_products_that_round_to_bfloat16_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    bmm = torch.bmm

    def rounded(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if torch.get_float32_matmul_precision() == "medium" and left.dtype == torch.float32:
            return bmm(left.bfloat16(), right.bfloat16()).float()
        return bmm(left, right)

    monkeypatch.setattr(torch, "bmm", rounded)
    assert not use_fast_products()
    assert torch.get_float32_matmul_precision() == "highest"
