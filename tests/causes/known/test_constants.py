"""Other numbers than the cell's own, planted in a loop in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V

Step = Callable[..., Tensor]


def leaky(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (s,), (w,) = a.split(wx), a.split(a.hidden(h))
    n = a.tanh(s + a.constant("rho") * w)
    return {"n": n, "h": a.constant("keep") * h + a.constant("leak") * n}


LEAKY = Cell(
    name="leaky",
    torch_name="",
    gates=("n",),
    states=("h",),
    quantities=("n", "h"),
    functions=("tanh",),
    step=leaky,
    constants=(("rho", 0.9), ("keep", 0.7), ("leak", 0.3)),
)
SPEC = rnnspect.Spec(cell=LEAKY, input_size=3, hidden_size=4)


def normed(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (s,) = a.gates(wx, h)
    n = a.tanh(a.norm(a.constant("scale") * s, "eps"))
    return {"n": n, "h": n}


NORMED = replace(LEAKY, name="normed", step=normed, mixes=True, constants=(("scale", 0.05), ("eps", 1e-5)))
"""Its values need each other, so that it is judged one step at a time."""


def port(rho: float = 0.9, keep: float = 0.7, leak: float = 0.3) -> Step:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        n = torch.tanh(x_t @ weight_ih.T + bias_ih + rho * (h @ weight_hh.T + bias_hh))
        return keep * h + leak * n

    return step


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (port(leak=0.25), "the number leak is 0.25, not 0.3"),
        (port(rho=0.9512346), "the number rho is 0.95123"),
        (port(keep=0.8, leak=0.2), "the numbers keep, leak are 0.8, 0.2, not 0.7, 0.3"),
        (port(keep=0.3, leak=0.7), "the numbers keep, leak are 0.3, 0.7, not 0.7, 0.3"),
        (port(keep=0.0, leak=1.0), "the numbers keep, leak are 0, 1, not 0.7, 0.3"),
        (port(rho=1.0), "the number rho, 0.9, is left out"),
    ],
)
def test_the_engine_s_numbers_are_told(engine: Step, said: str) -> None:
    found = rnnspect.check(SPEC, "randn:40", engine=engine)
    assert [one.name for one in found.causes] == ["line-constant"]
    assert said in found.causes[0].explanation


def test_numbers_that_would_fit_anything_are_not_told() -> None:
    """Three numbers to four values; and a mistake that is none of a number."""
    assert rnnspect.check(SPEC, "randn:1", h0="randn", engine=port(keep=0.8, leak=0.2)).causes == ()

    def sine(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        return 0.7 * h + 0.3 * torch.sin(x_t @ weight_ih.T + bias_ih + 0.9 * (h @ weight_hh.T + bias_hh))

    found = rnnspect.check(SPEC, "randn:40", engine=sine)
    assert found.verdict == "differ"
    assert found.causes == ()


def test_a_factor_of_zero_is_no_explanation() -> None:
    """It would make anything agree with an engine that gives zeros."""

    def zeros(x_t: Tensor, h: Tensor) -> Tensor:
        return torch.zeros_like(h)

    found = rnnspect.check(SPEC, "randn:40", engine=zeros)
    assert found.verdict == "differ"
    assert "line-constant" not in [one.name for one in found.causes]


def decaying(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    (s,) = a.split(wx)
    d = a.exp(a.constant("minus_c") * a.sigmoid(s))
    return {"s": s, "h": d * h + a.rest(d)}


def test_a_number_in_an_exponent_may_be_half_as_large() -> None:
    """So far from the cell's own Newton's method does not come to it."""
    cell = Cell(
        name="decaying", torch_name="", gates=("s",), states=("h",), quantities=("s", "h"),
        functions=("sigmoid", "exp"), step=decaying, constants=(("minus_c", -8.0),), is_recurrent=False,
    )  # fmt: skip

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        d = (-4 * (x_t @ weight_ih.T + bias_ih).sigmoid()).exp()
        return d * h + (1 - d)

    found = rnnspect.check(rnnspect.Spec(cell=cell, input_size=3, hidden_size=4), "randn:40", engine=step)
    assert [one.explanation for one in found.causes][:1] == ["the number minus_c is -4, not -8"]


@pytest.mark.parametrize("lengths", [(3, 2), (12, 2)])
def test_they_are_told_of_items_that_end_early(lengths: tuple[int, int]) -> None:
    spec = rnnspect.Spec(cell=NORMED, input_size=3, hidden_size=4)
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        s = x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
        return torch.tanh(torch.nn.functional.layer_norm(0.5 * s, (4,), eps=1e-5))

    found = rnnspect.check(spec, x, lengths=list(lengths), engine=step)
    assert found.verdict == "differ"
