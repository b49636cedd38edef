"""Gradients that an engine has as NaN because another number is infinite: nothing is told of them, and only of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.backward.case import BackwardCase, SeenLayer, assumptions_of
from rnnspect.judging.backward.sums import Sums, Term
from rnnspect.judging.backward.sums_again import orders_of
from rnnspect.judging.declared import declared_by
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

STEPS, BATCH, UNITS = 4, 2, 3
NAN, INF = float("nan"), float("inf")


def h_of(like: Tensor, directions: int, value: float) -> Tensor:
    h = torch.zeros_like(like).repeat(1, 1, directions)
    h[2, 0, 1] = value
    return h


def lost(
    dtype: torch.dtype, changes: dict[tuple[int, int], float], directions: int = 1, h: float = 0.0
) -> list[tuple[int, int]]:
    """Which rows (step, item) are lost, where all of some rows of the gradients has such a value, and h of step 2 of
    item 0 is such a number."""
    name = str(dtype).removeprefix("torch.")
    spec = Spec(cell="rnn", input_size=2, hidden_size=UNITS, dtype=name, bidirectional=directions > 1)  # type: ignore[arg-type]
    p = {}
    for end in [f"_l0{way}" for way in ("", "_reverse")[:directions]]:
        shapes = {"weight_ih": (UNITS, 2), "weight_hh": (UNITS, UNITS), "bias_ih": (UNITS,), "bias_hh": (UNITS,)}
        p |= {each + end: torch.zeros(shape, dtype=dtype) for each, shape in shapes.items()}
    shown = torch.ones(STEPS, BATCH, UNITS, dtype=dtype)
    for at, value in changes.items():
        shown[at] = value
    ways = ("forward", "reverse")[:directions]
    seen = {way: shown if way == "forward" else torch.ones_like(shown) for way in ways}
    x = torch.zeros(STEPS, BATCH, 2, dtype=dtype)
    output = h_of(shown, directions, h)
    first = torch.zeros(directions, BATCH, UNITS, dtype=dtype)
    info = EngineInfo("torch", "", "cpu", name)
    layer = SeenLayer(x, output, torch.zeros_like(output), {}, x, seen, {}, {})
    case = BackwardCase(spec, p, Sequence(x, first, None, None, True), info, (layer,), declared_by(info))
    found = assumptions_of(case)[0, "forward"].back.lost
    return [] if found is None else [(int(t), int(b)) for t, b in found.nonzero()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_nan_beside_an_infinite_row_in_memory_is_lost_in_half_types(dtype: torch.dtype) -> None:
    assert lost(dtype, {(1, 0): NAN, (1, 1): INF}) == [(1, 0)]
    assert lost(dtype, {(1, 1): NAN, (2, 0): INF}) == [(1, 1)]  # across steps
    assert lost(dtype, {(2, 0): NAN, (1, 1): INF}) == [(2, 0)]


def test_a_nan_beside_no_infinite_row_is_not_lost() -> None:
    assert lost(torch.bfloat16, {(1, 1): NAN}) == []
    assert lost(torch.bfloat16, {(3, 1): NAN, (0, 0): INF}) == []
    assert lost(torch.bfloat16, {(1, 1): 7.0, (2, 0): INF}) == []  # a number is one, whatever follows


def test_in_float32_no_row_reaches_into_another() -> None:
    assert lost(torch.float32, {(1, 0): NAN, (1, 1): INF}) == []


def test_an_infinity_of_one_direction_is_in_the_features_of_the_other() -> None:
    assert lost(torch.float32, {(1, 0): INF}, directions=2) == [(1, 0)]


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_step_whose_h_is_infinite_has_no_slopes(value: float) -> None:
    assert lost(torch.float32, {}, h=value) == [(2, 0)]


def term(left: list[list[float]], right: list[list[float]]) -> Term:
    none = torch.zeros((), dtype=torch.float64)
    u = ROUNDOFF[torch.float32]
    sides = [Number(torch.tensor(of, dtype=torch.float64), none, u) for of in (left, right)]
    return Term("weight_hh", *sides)


def found(terms: list[Term], h: Tensor, engine: float) -> tuple[float, int]:
    """Ratio of the first entry, and how many entries are not judged."""
    sums = Sums(ROUNDOFF[torch.float32], limit=torch.finfo(torch.float32).max)
    sums.add(terms)
    again = orders_of(lambda: [terms], sums.u, h)
    (one,) = sums.findings({"weight_hh": torch.full((1, 1), engine)}, STEPS, None, again)
    return one.ratio, one.unjudged


def test_of_zero_times_infinity_nothing_is_told() -> None:
    assert found([term([[0.0], [0.0]], [[INF], [1.0]])], torch.zeros(2, 1, 1), NAN) == (0, 1)


def test_a_nan_where_an_item_ended_with_an_infinite_h_is_not_judged() -> None:
    terms, h = [term([[1.0], [0.5]], [[1.0], [1.0]])], torch.tensor([1.0, INF]).view(2, 1, 1)
    assert found(terms, h, NAN) == (0, 1)
    assert found(terms, torch.ones(2, 1, 1), NAN) == (INF, 0)
    ratio, unjudged = found(terms, h, 1.6)  # a number that is wrong stays wrong
    assert ratio > 1
    assert not unjudged


def test_a_case_without_an_infinity_loses_nothing() -> None:
    assert lost(torch.bfloat16, {}) == []


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_sum_over_items_of_which_one_may_have_met_an_infinity_tells_nothing(kind: type[nn.RNNBase]) -> None:
    """W_ih x is 2¹²⁷ + 2¹²⁷ − 2¹²⁸ at a step of item 0: an engine may have ∞ − ∞ there, and NaN in every parameter."""
    torch.manual_seed(3)
    module, x, g = kind(3, 4), torch.randn(9, 2, 3) * 2.0**-64, torch.randn(9, 2, 4)
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.tensor([2.0**63, 2.0**63, -(2.0**64)]).expand_as(module.weight_ih_l0))
    x[5, 0] = 2.0**64
    wide, x_wide = copy.deepcopy(module).double(), x.double().requires_grad_()
    (wide(x_wide)[0] * g).sum().backward()
    assert x_wide.grad is not None
    right = {"grad.output": g, "grad.x": x_wide.grad.float()}
    right |= {f"grad.{name}": p.grad.float() for name, p in wide.named_parameters() if p.grad is not None}
    met = {name: v if name == "grad.output" else torch.full_like(v, torch.nan) for name, v in right.items()}
    met["grad.x"] = torch.where(torch.tensor([True, False]).view(1, 2, 1), torch.nan, right["grad.x"])
    for recorded in (right, met):
        assert rnnspect.check(module, x, recorded=recorded, backward=True).verdict == "cannot tell"
    met["grad.x"][2, 1, 0] *= 1.01  # of the other item it tells
    verdict = rnnspect.check(module, x, recorded=met, backward=True)
    assert verdict.first is not None
    assert (verdict.first.quantity, verdict.first.step, verdict.first.batch) == ("grad.x", 2, 1)


@pytest.mark.usefixtures("no_causes")
def test_beyond_the_dtype_that_gradients_were_kept_in_only_an_infinity_is_right() -> None:
    torch.manual_seed(0)
    module, x, g = nn.GRU(3, 4), torch.randn(30, 2, 3), torch.randn(30, 2, 4) * 2e4
    (module(x)[0] * g).sum().backward()
    recorded = {f"grad.{name}": p.grad.half() for name, p in module.named_parameters() if p.grad is not None}
    recorded["grad.output"] = g
    kept = recorded["grad.weight_ih_l0"]
    beyond = tuple(kept.isinf().nonzero()[0].tolist())
    assert rnnspect.check(module, x, recorded=recorded, backward=True).agrees
    for wrong in (3.0, torch.nan, -float(kept[beyond])):
        kept[beyond] = wrong
        verdict = rnnspect.check(module, x, recorded=recorded, backward=True)
        assert verdict.first is not None
        assert verdict.first.quantity == f"grad.weight_ih_l0[{beyond[0]},{beyond[1]}]"
