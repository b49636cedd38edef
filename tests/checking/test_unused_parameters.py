"""Gradients of a cell whose lines do not use one of its parameters: that of the parameter is zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V


def spare(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)"""
    (s,) = a.gates(wx, h)
    return {"s": s, "h": a.tanh(s)}


def alone(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """y = W_hh h + b_hh, h' = tanh(W_ih x + b_ih) + h: nothing but y is made of W_hh"""
    (s,), (y,) = a.split(wx), a.split(a.hidden(h))
    return {"s": s, "y": y, "h": a.tanh(s) + h}


def normed(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """h' = tanh(W_ih x + b_ih + norm(W_hh h + b_hh)), whose gradients are not checked step by step"""
    (s,) = a.split(wx)
    (y,) = a.split(a.hidden(h))
    return {"s": s, "h": a.tanh(s + a.norm(y, "eps"))}


def cell_of(lines: Any) -> Cell:
    parameters = () if lines is alone else (("spare", ("hidden_size", 2)),)
    quantities = ("s", "y", "h") if lines is alone else ("s", "h")
    options: Any = {"parameters": parameters, "constants": (("eps", 1e-5),), "mixes": lines is normed}
    return Cell(lines.__name__, "", ("s",), ("h",), quantities, ("tanh",), lines, **options)


def made(lines: Any, x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, weight_hh: Any, bias_hh: Any) -> Any:
    s = x_t @ weight_ih.T + bias_ih
    if lines is alone:
        return torch.tanh(s) + h
    y = h @ weight_hh.T + bias_hh
    return torch.tanh(s + (torch.nn.functional.layer_norm(y, y.shape[-1:], eps=1e-5) if lines is normed else y))


def engines(lines: Any) -> tuple[Any, Any]:
    """One that does not take the parameter, and one whose gradient of it is not zero."""

    def right(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, weight_hh: Any, bias_hh: Any) -> Any:
        return made(lines, x_t, h, weight_ih, bias_ih, weight_hh, bias_hh)

    def wrong(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, weight_hh: Any, bias_hh: Any, spare: Any) -> Any:
        new = made(lines, x_t, h, weight_ih, bias_ih, weight_hh, bias_hh)
        return new + (spare - spare.detach())[:, 0]

    def also_wrong(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, weight_hh: Any, bias_hh: Any) -> Any:
        new = made(lines, x_t, h, weight_ih, bias_ih, weight_hh, bias_hh)
        return new + (weight_hh - weight_hh.detach())[:, 0]

    return right, also_wrong if lines is alone else wrong


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("lines", [spare, alone, normed])
def test_it_is_zero(lines: Any, batch: int) -> None:
    spec = rnnspect.Spec(cell=cell_of(lines), input_size=3, hidden_size=4)
    x = torch.randn(batch, 8, 3, generator=torch.Generator().manual_seed(0))
    right, wrong = engines(lines)
    found = rnnspect.check(spec, x, engine=right, backward=True)
    assert found.verdict == "agree"
    found = rnnspect.check(spec, x, engine=wrong, backward=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.verdict == "differ"
    assert found.first is not None
    name = "weight_hh_l0" if lines is alone else "spare_l0"
    assert found.first.quantity.startswith(f"grad.{name}[")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("lines", [spare, alone])
def test_no_known_mistake_is_a_fault_there(lines: Any, batch: int) -> None:
    spec = rnnspect.Spec(cell=cell_of(lines), input_size=3, hidden_size=4)
    x = torch.randn(batch, 8, 3, generator=torch.Generator().manual_seed(0))

    def doubled(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, weight_hh: Any, bias_hh: Any) -> Any:
        return made(lines, x_t, 2 * h - h.detach(), weight_ih, bias_ih, weight_hh, bias_hh)

    assert rnnspect.check(spec, x, engine=doubled, backward=True).verdict == "differ"
