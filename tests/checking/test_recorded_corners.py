"""Recorded gradients where there is more than one right answer, or none: at a kink, and beyond the range of a dtype."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec
from rnnspect.checking.backward import judge_recorded_backward
from rnnspect.checking.check import CheckTerms
from rnnspect.engines.torch import TorchEngine
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.network.gradients import Upstream
from rnnspect.tracing.prepare import Prepared, prepare
from tests.causes.backward.test_single_faults import case_of_prepared
from tests.checking.backward_variants import Variants
from tests.engines.gradients import upstream_of

if TYPE_CHECKING:
    from rnnspect.judging.verdict import Verdict


def recorded(prepared: Prepared, engine: Any, **changed: torch.Tensor) -> Verdict:
    upstream = upstream_of(prepared, states=False)
    given = engine.backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    named = {f"grad.{name}": g for name, g in (given.named | changed).items()}
    return judge_recorded_backward(prepared, {"grad.output": upstream.output} | named, terms=CheckTerms(explain=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["leaky_relu(0.25)", "affine(1, 0)"])
def test_at_a_kink_either_derivative_is_right(dtype: str, function: str) -> None:
    """torch's leaky_relu has the slope α at 0, JAX's has 1, as a straight line has. With weights of 0 all s are 0."""
    spec = Spec(input_size=3, hidden_size=4, dtype=dtype, bias=False, activations=[function])
    prepared = prepare(spec, "randn:30")
    for weights in prepared.parameters.values():
        weights.zero_()
    kinked = replace(prepared, spec=spec.with_changes(activations=["leaky_relu(0.25)"]))
    upstream = upstream_of(prepared, states=False)
    given = Variants().backward(spec, prepared.parameters, prepared.sequence, upstream)
    named = {f"grad.{name}": g for name, g in given.named.items()}
    verdict = judge_recorded_backward(kinked, {"grad.output": upstream.output} | named, terms=CheckTerms(explain=0))
    assert verdict.verdict != "differ", verdict.first


def test_what_overflows_is_not_called_wrong() -> None:
    """h doubles at each step and is infinite before the last one: 0 times that is NaN, somewhere."""
    prepared = prepare(Spec(nonlinearity="relu", input_size=2, hidden_size=3, bias=False), torch.ones(150, 2))
    prepared.parameters["weight_ih_l0"].fill_(1)  # type: ignore[index]
    prepared.parameters["weight_hh_l0"].copy_(2 * torch.eye(3))  # type: ignore[index]
    verdict = recorded(prepared, TorchEngine())
    assert verdict.verdict == "cannot tell"
    assert verdict.reason is not None
    assert "overflow float32" in verdict.reason


def test_what_cannot_overflow_is_still_called_wrong() -> None:
    prepared = prepare(Spec(nonlinearity="relu", input_size=2, hidden_size=3), "randn:20")
    assert recorded(prepared, TorchEngine()).agrees
    assert recorded(prepared, TorchEngine(), x=torch.full((20, 1, 2), float("nan"))).verdict == "differ"


@pytest.mark.parametrize("function", ["softsign", "hard_sigmoid(0.2,0.5)"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_function_made_of_several_operations_may_store_each(function: str, dtype: str) -> None:
    """1 + |s|, the quotient and its two derivatives each in the half type, over many values of s."""
    spec = Spec(input_size=3, hidden_size=8, dtype=dtype, activations=[function], h0="randn")
    for seed in range(8):
        prepared = prepare(spec.with_changes(seed=seed), "randn:12")
        for weights in prepared.parameters.values():
            weights.mul_(5)  # so that s is of any size
        case: BackwardCase = case_of_prepared(prepared, Variants(), upstream_of(prepared))
        assert backward_verdict(case, judge_backward(case)).verdict != "differ"


def test_what_grows_too_fast_is_not_said_to_overflow() -> None:
    """A chaotic network of 200 steps, of which only the gradients were recorded: they are far from any limit, and could
    be any."""
    prepared = prepare(Spec(input_size=3, hidden_size=12), "randn:200")
    for name, weights in prepared.parameters.items():
        weights.mul_(8 if name == "weight_hh_l0" else 0.3)
    verdict = recorded(prepared, TorchEngine())
    assert verdict.verdict == "cannot tell"
    assert "rounding errors grow too fast" in str(verdict.reason)


def test_gradients_that_are_all_zero_are_said_to_be() -> None:
    """One step from h = 0: dL/dW_hh is zero whatever the engine does."""
    prepared = prepare(Spec(cell="lstm", input_size=3, hidden_size=4), "randn:1")
    upstream = upstream_of(prepared, states=False)
    given = TorchEngine().backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    arrays = {"grad.output": upstream.output, "grad.weight_hh_l0": given.parameters["weight_hh_l0"]}
    verdict = judge_recorded_backward(prepared, arrays, terms=CheckTerms(explain=0))
    assert verdict.verdict == "cannot tell"
    assert str(verdict.reason).startswith("dL/dweight_hh_l0: zero for this loss and input")


@pytest.mark.each_value_once
@pytest.mark.parametrize("power", [10, 16])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_gradients_of_a_scaled_loss_are_numbers_of_float16(cell: str, power: int) -> None:
    """Mixed precision multiplies the loss by 2ᵏ, keeps gradients in float16 and divides them: the small ones are
    multiples of the smallest number of float16, divided."""
    prepared = prepare(Spec(cell=cell, input_size=4, hidden_size=9, num_layers=2), "randn:14")
    upstream = Upstream(upstream_of(prepared, states=False).output * 1e-3)
    given = TorchEngine().backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    named = {
        f"grad.{name}": g.mul(2.0**power).half().float().div(2.0**power)
        for name, g in {"output": upstream.output, **given.named}.items()
    }
    verdict = judge_recorded_backward(prepared, named, terms=CheckTerms(explain=0))
    assert verdict.agrees, verdict.first
    assert any("float16 times 1/" in note for note in verdict.notes)
    named["grad.weight_hh_l0"] *= 1 + 2.0**-6
    assert judge_recorded_backward(prepared, named, terms=CheckTerms(explain=0)).verdict == "differ"


def test_digits_that_are_too_few_are_what_is_to_be_mended() -> None:
    """Gradients of some thousandths in three decimals: fewer steps or a wider dtype would not help."""
    prepared = prepare(Spec(cell="lstm", input_size=3, hidden_size=4), "randn:5")
    upstream = Upstream(upstream_of(prepared, states=False).output * 3e-3)
    given = TorchEngine().backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    few = {f"grad.{name}": torch.round(g, decimals=3) for name, g in given.named.items() if name in given.parameters}
    verdict = judge_recorded_backward(prepared, {"grad.output": upstream.output} | few, terms=CheckTerms(explain=0))
    assert verdict.verdict == "cannot tell"
    assert str(verdict.reason).endswith("record more digits")
    assert "weight_hh_l0" in str(verdict.reason)


@pytest.mark.parametrize("how", ["float32", "float16", "decimals"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_a_number_differs_however_the_others_were_rounded(value: float, how: str) -> None:
    torch.manual_seed(0)
    module, x = nn.GRU(3, 4), torch.randn(20, 2, 3)
    y = module(x)[0]
    went_in = torch.randn_like(y)
    y.backward(went_in)
    arrays = {f"grad.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    ways = {
        "float32": lambda g: g,
        "float16": lambda g: g.half().float(),
        "decimals": lambda g: (g * 1e3).round() / 1e3,
    }
    arrays = {"grad.output": went_in, **{name: ways[how](g) for name, g in arrays.items()}}
    assert rnnspect.check(module, x, recorded=arrays, backward=True, explain=0).verdict != "differ"
    arrays["grad.weight_ih_l0"][2, 1] = value
    found = rnnspect.check(module, x, recorded=arrays, backward=True, explain=0)
    assert found.first is not None
    assert found.first.quantity == "grad.weight_ih_l0[2,1]"


def test_a_gradient_that_overflowed_float16_is_not_called_wrong() -> None:
    torch.manual_seed(0)
    module, x = nn.GRU(3, 4), torch.randn(20, 2, 3)
    y = module(x)[0]
    went_in = 3e4 * torch.randn_like(y)
    y.backward(went_in)
    arrays = {f"grad.{name}": p.grad.half().float() for name, p in module.named_parameters() if p.grad is not None}
    assert any(bool(g.isinf().any()) for g in arrays.values())
    arrays["grad.output"] = went_in
    assert rnnspect.check(module, x, recorded=arrays, backward=True, explain=0).verdict != "differ"
