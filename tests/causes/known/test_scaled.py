"""A factor of x or of the output is read only where there is more to it than chance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnnspect


@pytest.mark.parametrize("seed", [12, 31])
def test_an_output_that_no_factor_makes_right_has_none(seed: int) -> None:
    """Zeros lead a search for a factor to smaller and smaller ones, of either sign."""
    torch.manual_seed(seed)
    module, x = nn.LSTM(3, 1), torch.randn(3, 3)
    with torch.no_grad():
        y = module(x)[0].relu()
    found = rnnspect.check(module, x, recorded=y)
    assert found.verdict == ("differ" if bool((y == 0).any()) else "agree")
    assert not any(cause.name == "input-scaled" for cause in found.causes)


@pytest.mark.parametrize("seed", range(2))
def test_one_number_has_no_factor(seed: int) -> None:
    torch.manual_seed(seed)
    module, x = nn.GRU(3, 1), torch.randn(1, 3)
    with torch.no_grad():
        y = module(x)[0]
    found = rnnspect.check(module, x, recorded=y * 1.7)
    assert found.verdict == "differ"
    assert not any("scaled" in cause.name for cause in found.causes)
