"""Recovering a layer whose gate before a product is shut at every step, so that no weight moves what the product is of:
at our own weights, or at those that are tried."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect import Spec
from rnnspect.cli.starting.cell import CELL as MGU
from rnnspect.judging.evidence.jacobian_products import JacobianProducts
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

UNITS = 4


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("theirs", [False, True])
def test_the_jacobian_where_a_gate_is_shut(ours: bool, theirs: bool) -> None:
    torch.manual_seed(0)
    drawn = [torch.randn(2 * UNITS, *of, dtype=torch.float64) for of in ((3,), (UNITS,), (), ())]
    opened = LayerParameters(*drawn, None)
    shut = opened.with_changes(bias_ih=opened.bias_ih - 2000 * (torch.arange(2 * UNITS) < UNITS))
    p, q = (shut if is_shut else opened for is_shut in (ours, theirs))
    x, h = torch.randn(30, 2, 3, dtype=torch.float64), torch.randn(31, 2, UNITS, dtype=torch.float64).tanh()
    steps = Steps(x, h[:-1], h[1:], torch.ones(30, 2, dtype=torch.bool), None)
    now = JacobianProducts(LayerEquations(MGU, p, None, "tanh"), p, steps)
    there = now.at(q)
    change = there.about().solved(there, there.pulled(there.residual), 0.0, (there.left, 1))
    assert len(change) == len(there.about().variances()) == now.count
    assert bool(there.moved(change).any()) == (not ours and not theirs)


def _without_the_rest(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    """h + f ⊙ n in place of (1 − f) ⊙ h + f ⊙ n."""
    x_f, x_n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
    (w_f, w_n), (b_f, b_n) = weight_hh.chunk(2), bias_hh.chunk(2)
    f = torch.sigmoid(x_f + h @ w_f.T + b_f)
    return h + f * torch.tanh(x_n + (f * h) @ w_n.T + b_n)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [40, 60])
def test_a_search_that_comes_to_shut_gates(steps: int) -> None:
    spec = Spec(cell=MGU, input_size=3, hidden_size=UNITS, h0="randn")
    assert rnnspect.check(spec, f"randn:{steps}", engine=_without_the_rest).verdict == "differ"
