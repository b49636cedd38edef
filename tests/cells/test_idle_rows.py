"""Gates that do not see h: their rows of weight_hh are there, and nothing is computed from them or told of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.tracing.prepare import prepare


def gated(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """f  = σ(W_if x + b_if)
    n  = tanh(W_in x + b_in + W_hn h + b_hn)
    h' = (1 − f) ⊙ h + f ⊙ n
    """
    s_f, x_n = a.split(wx)
    _, h_n = a.split(a.hidden(h))
    f, n = a.sigmoid(s_f), a.tanh(x_n + h_n)
    return {"f": f, "n": n, "h": a.lerp(h, n, f)}


CELL = Cell("gated", "", ("f", "n"), ("h",), ("f", "n", "h"), ("sigmoid", "tanh"), gated)


def loop(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    f, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
    units = h.shape[-1]
    f, n = torch.sigmoid(f), torch.tanh(n + h @ weight_hh[units:].T + bias_hh[units:])
    return (1 - f) * h + f * n


@pytest.mark.usefixtures("no_causes")
def test_it_is_proved_whatever_stands_in_them() -> None:
    spec = rnnspect.Spec(cell=CELL, input_size=2, hidden_size=3)
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=loop).verdict == "agree"
    assert rnnspect.check(spec, x, engine=loop, backward=True).verdict == "agree"
    weights = {name: w.clone() for name, w in prepare(spec, "zeros:1").parameters.items()}
    weights["weight_hh_l0"][:3] = 1e3
    other = spec.with_changes(weights={name: w.tolist() for name, w in weights.items()})
    assert torch.equal(rnnspect.trace(other, x).output.manual, rnnspect.trace(spec, x).output.manual)  # type: ignore[union-attr]
    assert rnnspect.check(other, x, engine=loop).verdict == "agree"


@pytest.mark.slow
def test_their_gradient_is_zero_and_no_suspect_is_among_them() -> None:
    spec = rnnspect.Spec(cell=CELL, input_size=2, hidden_size=3, dtype="float64")
    x = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = rnnspect.gradients(spec, x, engine=loop)
    assert found.max_abs_difference < 1e-12
    assert float(found.parameters["weight_hh_l0"].gradient.manual[:3].abs().max()) == 0
    assert float(found.parameters["weight_hh_l0"].gradient.manual[3:].abs().min()) > 0

    def off(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return loop(x_t, h, weight_ih, weight_hh * (1 + 1e-6), bias_ih, bias_hh)

    told = rnnspect.check(spec, x, engine=off, recover=True)
    assert isinstance(told, rnnspect.Verdict)
    assert told.verdict == "differ"
    assert told.recovered is not None
    (layer,) = told.recovered.layers
    assert layer.untold == 3 * 3  # the idle rows of weight_hh; those of bias_hh are told in a sum with bias_ih
