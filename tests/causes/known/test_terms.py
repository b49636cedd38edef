"""Factors, terms and signs of lines: each mistake is planted in a loop in torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.cli.starting.cell import CELL as MGU
from rnnspect.engines.own.loading import load_cell
from tests.causes.decaying import NAMED, OF_DELTA, decaying
from tests.causes.own_cells import MINGRU
from tests.marks import sampled

PLANTED = {
    ("s6", "no Δ in A"): "the factor a.spread(d, rate) of a.spread(d, rate) * rate is left out",
    ("s6", "no Δ in B"): "the factor d of d * u is left out",
    ("s6", "no Δ"): 'a.softplus(s_d + a.parameter("dt_bias")) is taken as 1',
    ("mamba", "no Δ in B"): "the factor d of d * u is left out",
    ("gated_delta", "no beta"): "a.sigmoid(s_b) is taken as 1",
    ("lru", "conjugate"): "the complex decay turns the other way round",
    ("lru", "sign of the imaginary part"): "a.by_value(a.parameter('C_im'), im) has the other sign",
    ("lru", "no D"): "d is left out",
}


@pytest.mark.parametrize(("cell", "mistake"), sampled(PLANTED, 3))
def test_each_is_told_first_and_alone(cell: str, mistake: str) -> None:
    of = load_cell(f"examples/cells/{cell}.py:{cell}")
    spec = rnnspect.Spec(cell=of, input_size=3, hidden_size=4, batch_first=True, c0="randn", seed=5)
    found = rnnspect.check(spec, "randn:20", engine=decaying(cell, mistake))
    assert [one.name for one in found.causes] == [NAMED[mistake]]
    assert found.causes[0].explanation.startswith(PLANTED[cell, mistake])
    assert f"{cell}.py:{found.causes[0].parameters['place']}" in found.causes[0].fix


def test_a_side_of_a_mix_that_has_no_factor() -> None:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        return (1 - z.sigmoid()) * h + n

    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4)
    (cause,) = rnnspect.check(spec, "randn:9", engine=step).causes
    assert cause.name == "line-factor-left-out"
    assert cause.explanation.startswith("what is mixed with the share z is added whole")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("f", "what is mixed with the share z"),
        ("1 − f", "what is mixed with the share 1 − z"),
        ("f of h", "the factor f of f * h"),
    ],
)
def test_a_factor_of_the_state_of_a_cell_with_gates(mistake: str, said: str) -> None:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        x_f, x_n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        (w_f, w_n), (b_f, b_n) = weight_hh.chunk(2), bias_hh.chunk(2)
        f = (x_f + h @ w_f.T + b_f).sigmoid()
        n = (x_n + (h if mistake == "f of h" else f * h) @ w_n.T + b_n).tanh()
        return (h if mistake == "1 − f" else (1 - f) * h) + (n if mistake == "f" else f * n)

    spec = rnnspect.Spec(cell=MGU, input_size=3, hidden_size=4, batch=2, h0="randn")
    (cause,) = rnnspect.check(spec, "randn:20", engine=step).causes
    assert cause.name == "line-factor-left-out"
    assert cause.explanation.startswith(said)


@pytest.mark.slow
def test_what_no_step_of_a_batch_changes_may_carry_a_state() -> None:
    """Without v in its convolution Mamba's first step has decays of the cell state alone."""
    spec = rnnspect.Spec(cell=load_cell("examples/cells/mamba.py:mamba"), input_size=3, hidden_size=4, batch=2)
    found = rnnspect.check(spec, "randn:9", engine=decaying("mamba", "no bias"), arithmetic="any-order")
    assert [one.name for one in found.causes] == ["line-parameter-left-out"]


def test_every_place_of_a_step_size_is_planted() -> None:
    assert {mistake for cell, mistake in PLANTED if cell == "s6"} == set(OF_DELTA)


def adding(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """Each step adds the same."""
    f, o = a.split(wx)
    c = a.carry(a.sigmoid(f), c, a.parameter("v"))
    return {"f": f, "o": o, "c": c, "h": o * c}


ADDING = Cell(
    name="adding",
    torch_name="",
    gates=("f", "o"),
    states=("h", "c"),
    quantities=("f", "o", "c", "h"),
    functions=("sigmoid",),
    step=adding,
    parameters=(("v", ("hidden_size",)),),
    is_recurrent=False,
)


@pytest.mark.parametrize("arithmetic", [None, "any-order"])
def test_a_step_may_add_a_parameter_alone(arithmetic: str | None) -> None:
    def step(
        x_t: Tensor, state: tuple[Tensor, Tensor], weight_ih: Tensor, bias_ih: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        f, o = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        c = torch.sigmoid(f) * state[1] + v
        return o * c, c

    spec = rnnspect.Spec(cell=ADDING, input_size=3, hidden_size=4, batch=2)
    assert rnnspect.check(spec, "randn:20", engine=step, arithmetic=arithmetic).agrees


def peak(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    n, m = a.split(wx)
    other = a.constant("minus") * m
    return {"n": n, "m": m, "h": a.constant("keep") * h + a.maximum(n, other) + a.constant("minus") * m}


def test_what_is_made_with_a_number_or_a_maximum_in_one_place() -> None:
    cell = Cell(
        name="peak", torch_name="", gates=("n", "m"), states=("h",), quantities=("n", "m", "h"), functions=(),
        step=peak, constants=(("keep", 0.5), ("minus", -1.0)), is_recurrent=False,
    )  # fmt: skip
    spec = rnnspect.Spec(cell=cell, input_size=3, hidden_size=4)

    def told(of: Callable[[Tensor, Tensor], Tensor]) -> list[tuple[str, str]]:
        def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
            return 0.5 * h + of(*(x_t @ weight_ih.T + bias_ih).chunk(2, -1))

        found = rnnspect.check(spec, "randn:20", engine=step)
        return [(one.name, one.explanation.partition(", where ")[0]) for one in found.causes][:1]

    assert told(lambda n, m: torch.maximum(n, -m) - m) == []
    left = "the maximum is left out: n alone is taken"
    assert told(lambda n, m: n - m) == [("line-function-left-out", left)]
    turned = "the product of a.constant('minus') * m has the other sign"
    assert told(lambda n, m: torch.maximum(n, m) - m) == [("line-sign", turned)]
