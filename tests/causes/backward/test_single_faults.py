"""One number of a right pass backwards is moved by more than twice its bound: it is found at exactly that address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnnspect.checking.backward import _inputs
from rnnspect.checking.exposed import exposed_layers
from rnnspect.engines.interface import backward_of
from rnnspect.judging.assumption import At
from rnnspect.judging.backward.case import BackwardCase, SeenLayer, assumptions_of
from rnnspect.judging.backward.judge import BackwardJudge
from rnnspect.judging.backward.stack import judge_backward, judge_of
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import declared_by
from rnnspect.network.gradients import Upstream
from rnnspect.network.parameters import suffix
from rnnspect.network.recording import EngineInfo
from rnnspect.tracing.prepare import Prepared
from tests.causes.backward.drawn import Plan, prepared_of
from tests.marks import sampled

pytestmark = pytest.mark.usefixtures("no_causes")

PLANS = [
    Plan(seed, kind, dtype, layers, directions, lengths=lengths)
    for seed, (kind, dtype, layers, directions, lengths) in enumerate(
        [
            ("lstm", "float32", 2, 2, False),
            ("gru", "float64", 1, 1, False),
            ("rnn", "float32", 1, 2, True),
            ("gru-before", "float32", 1, 1, True),
            ("lstm", "float64", 1, 2, True),
            ("gru", "float32", 2, 2, True),
            ("rnn", "float64", 2, 1, False),
        ]
    )
]
FAULTS = 12
MORE = 2.02
"""More than twice the bound; the bound of a value is computed on the way to the verdict in another order of sums."""


def case_of(plan: Plan) -> BackwardCase:
    """The pass backwards of right loops."""
    prepared, upstream = prepared_of(plan, {})
    return case_of_prepared(prepared, prepared.engine, upstream)


def case_of_prepared(prepared: Prepared, engine: Any, upstream: Upstream) -> BackwardCase:
    """Layer by layer, as a check sees it."""
    parts = prepared.spec, prepared.parameters, prepared.sequence
    layers = exposed_layers(backward_of(engine), *parts, upstream, _inputs(prepared)[0])
    info = EngineInfo(engine.name, "", "cpu", prepared.spec.dtype)
    return BackwardCase(*parts, info, layers, declared_by(info))


def with_layer(case: BackwardCase, layer: int, **changes: Any) -> BackwardCase:
    layers: list[SeenLayer] = list(case.layers)
    layers[layer] = replace(layers[layer], **changes)
    return replace(case, layers=tuple(layers))


def bounds(case: BackwardCase, at: At) -> torch.Tensor:
    """(T, B, G·H): of each gradient of a pre-activation, in processing order, with the room for another order."""
    assumed, kept = assumptions_of(case)[at], []

    class Kept(BackwardJudge):
        def _judged(self, passed: Any, steps: Any, *rest: Any) -> Any:
            bound = passed.wx.e * self.layer.bound_factor
            kept.append((bound.clone(), (passed.wx.v - steps.seen.to(bound.dtype)).abs()))
            return super()._judged(passed, steps, *rest)

    Kept(assumed.cell, assumed.p, assumed.u, assumed.nonlinearity)(assumed.back)
    bound, apart = kept[0]
    return bound * MORE + apart


@pytest.mark.parametrize("plan", sampled(PLANS, 3), ids=lambda plan: f"{plan.kind} {plan.dtype}")
def test_one_gradient_of_a_gate_is_found_where_it_is(plan: Plan) -> None:
    """One item, step, gate and unit; what comes after it on the way back starts from the wrong number and is right."""
    case, rng = case_of(plan), np.random.default_rng(plan.seed)
    spec, sequence = case.spec, case.sequence
    for _ in range(FAULTS):
        layer, direction = at = spec.places[int(rng.integers(len(spec.places)))]
        item, gate, unit = (int(rng.integers(n)) for n in (plan.batch, len(spec.cell_type.gates), plan.units))
        place = int(rng.integers(sequence.length(item)))
        step = sequence.length(item) - 1 - place if direction == "reverse" else place
        size = float(bounds(case, at)[place, item, gate * plan.units + unit])
        shown = dict(case.layers[layer].pre_activations)
        shown[direction] = shown[direction].clone()
        shown[direction][step, item, gate * plan.units + unit] += size
        wrong = with_layer(case, layer, pre_activations=shown)
        verdict = backward_verdict(wrong, judge_backward(wrong))
        first = verdict.first
        assert first is not None
        found = first.quantity, first.layer, first.direction, first.step, first.batch, first.unit
        assert found == (f"grad.{spec.cell_type.gates[gate]}_pre", layer, direction, step, item, unit)


@pytest.mark.parametrize("plan", sampled(PLANS, 3), ids=lambda plan: f"{plan.kind} {plan.dtype}")
def test_one_entry_of_a_parameters_gradient_is_found_where_it_is(plan: Plan) -> None:
    case, rng = case_of(plan), np.random.default_rng(plan.seed)
    for _ in range(FAULTS):
        layer, direction = at = case.spec.places[int(rng.integers(len(case.spec.places)))]
        assumed = assumptions_of(case)[at]
        found = judge_of(assumed)(assumed.back, exact=True)
        name = sorted(assumed.gradients)[int(rng.integers(len(assumed.gradients)))]
        own, bound = found.sums.known(found.steps)[name]
        entry = tuple(int(rng.integers(n)) for n in own.shape)
        full = name + suffix(layer, direction)
        given = dict(case.layers[layer].parameters)
        given[full] = given[full].clone()
        given[full][entry] += MORE * float(bound[entry]) + abs(float(own[entry] - given[full][entry]))
        wrong = with_layer(case, layer, parameters=given)
        verdict = backward_verdict(wrong, judge_backward(wrong))
        assert verdict.first is not None
        assert verdict.first.quantity == f"grad.{full}[{','.join(map(str, entry))}]"


def test_a_gradient_of_the_input_in_padding_is_found() -> None:
    case = case_of(PLANS[2])
    assert case.sequence.lengths is not None
    x = case.layers[0].grad_x.clone()
    x[case.sequence.lengths[0], 0, 1] = 1e-20
    wrong = with_layer(case, 0, grad_x=x)
    first = backward_verdict(wrong, judge_backward(wrong)).first
    assert first is not None
    assert (first.quantity, first.step, first.batch, first.unit) == ("grad.x", case.sequence.lengths[0], 0, 1)


@pytest.mark.parametrize("plan", sampled(PLANS, 3), ids=lambda plan: f"{plan.kind} {plan.dtype}")
def test_one_gradient_of_the_input_or_of_a_state_is_found(plan: Plan) -> None:
    """By 1e-3 of itself and of 1, which is far above its bound."""
    case = case_of(plan)
    for layer, seen in enumerate(case.layers):
        x = seen.grad_x.clone()
        x[0, 1, 2] += 1e-3 * (1 + x[0, 1, 2].abs())
        wrong = with_layer(case, layer, grad_x=x)
        first = backward_verdict(wrong, judge_backward(wrong)).first
        assert first is not None
        assert (first.quantity, first.layer, first.step, first.batch, first.unit) == ("grad.x", layer, 0, 1, 2)
        for name, values in seen.states.items():
            moved = values.clone()
            moved[-1, 1, 2] += 1e-3 * (1 + moved[-1, 1, 2].abs())
            wrong = with_layer(case, layer, states={**seen.states, name: moved})
            first = backward_verdict(wrong, judge_backward(wrong)).first
            assert first is not None
            place = case.spec.directions[-1]
            found = first.quantity, first.layer, first.direction, first.batch, first.unit
            assert found == (f"grad.{name}0", layer, place, 1, 2)
