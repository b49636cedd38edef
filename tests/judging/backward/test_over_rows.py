"""Sums over more rows than are added up at once."""

from __future__ import annotations

import pytest
import torch

from rnnspect.judging.backward import over_rows
from rnnspect.judging.backward.over_rows import norms, products, summed

EPS = torch.finfo(torch.float32).eps


@pytest.mark.parametrize("part", [1, 64, 10**6])
def test_columns_are_added_up_in_any_parts(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of 50 numbers in float32 that are all positive: off by at most 50 roundings."""
    monkeypatch.setattr(over_rows, "_PART", part)
    v = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    exact = v.double()
    torch.testing.assert_close(summed(v, torch.Tensor.abs), exact.abs().sum(0), rtol=50 * EPS, atol=0)
    torch.testing.assert_close(norms(v), exact.square().sum(0).sqrt(), rtol=50 * EPS, atol=0)


def test_each_pair_has_its_own_product_whichever_share_a_factor() -> None:
    """In float64, where a sum of 20 terms is off by less than 1e-13."""
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(20, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    x, h = (torch.randn(20, width, generator=draw, dtype=torch.float64) for width in (3, 4))
    pairs = [(one, x), (one, None), (other, h), (one, h), (other, x)]
    for (left, right), found in zip(pairs, products(pairs), strict=True):
        assert (found is None) == (right is None)
        if right is not None and found is not None:
            torch.testing.assert_close(found, left.t() @ right, rtol=0, atol=1e-13)
