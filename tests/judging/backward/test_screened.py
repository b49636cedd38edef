"""The quick look at a pass backwards: its bound is never above the whole one, and what it clears is right."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rnnspect.arithmetic import lstm_screen
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.lstm_screen import LstmBackwards, LstmBlock, LstmScreen, ShownBackwards
from rnnspect.judging.backward.case import BackwardAssumption, BackwardCase, assumptions_of
from rnnspect.judging.backward.passing import Passed, go_back, go_forwards, masked
from rnnspect.judging.backward.screened import QuickLook
from rnnspect.judging.backward.stack import judge_backward, judge_of
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.judge import CLOSE
from tests.causes.backward.drawn import Plan
from tests.causes.backward.test_single_faults import case_of, with_layer

PLANS = [
    Plan(0, steps=40, units=9, finals=False),
    Plan(1, dtype="float64", directions=2, lengths=True),
    Plan(2, steps=300, batch=1, units=17, features=6),
    Plan(3, layers=2, lengths=True, steps=25),
]
ROUNDINGS = 1e-5
"""Relative: a bound is itself computed in float32, by fewer than a hundred operations of positive numbers."""

CARRIED = 0.02
"""Relative: of a cell state's error what is older than 16 steps is not in the bound that says the resolution."""


def _assumptions(case: BackwardCase, scale: float = 1.0) -> list[BackwardAssumption]:
    """`scale` times the weights: with large ones the gates are shut or open."""
    parameters = {name: p * scale for name, p in case.parameters.items()}
    return list(assumptions_of(replace(case, parameters=parameters)).values())


def _quick(assumed: BackwardAssumption) -> tuple[LstmBackwards, Number]:
    """Gone back over with the quick bound; and the gradients of its gates, packed."""
    judge, run, gates = judge_of(assumed), assumed.run, {}
    layer, steps = judge.layer, judge.steps_of(assumed.back, masked(chunk_at(run, 0, run.x.shape[0])))
    state, valid, a = layer.begin(run.c0), steps.chunk.valid, LstmScreen(judge.plain, layer.bound_factor)
    assert state is not None
    see = LstmBlock.see

    def kept(block: LstmBlock, gate: str, g: Tensor, e: Tensor) -> None:
        see(block, gate, g, e)
        gates[gate, block.at.start] = g * block.slopes[gate], e

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LstmBlock, "see", kept)
        forwards = a.forwards(steps.chunk.x, steps.chunk.before, state.number(layer.dtype))
        after = judge.end_of(assumed.back, run.x.shape[1])
        shown = ShownBackwards(steps.seen, steps.upstream, after, None if valid is None else valid.unsqueeze(-1))
        found = a.back(forwards, shown)
    starts = sorted({start for _, start in gates})
    packed = [[torch.cat([gates[gate, at][part] for gate in "ifgo"], -1) for at in starts] for part in (0, 1)]
    return found, Number(torch.cat(packed[0]), torch.cat(packed[1]), layer.u)


def _whole(assumed: BackwardAssumption) -> Passed:
    judge, run = judge_of(assumed), assumed.run
    layer, steps = judge.layer, judge.steps_of(assumed.back, masked(chunk_at(run, 0, run.x.shape[0])))
    state = layer.begin(run.c0)
    assert state is not None
    forwards = go_forwards(judge.plain, layer.cell, steps.chunk, state.number(layer.dtype), {})
    return go_back(forwards, layer.cell, steps, judge.end_of(assumed.back, run.x.shape[1]))


@pytest.mark.parametrize("block", [64, 2**17])
@pytest.mark.parametrize("scale", [0.1, 1.0, 12.0])
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.dtype} {plan.steps}")
def test_the_quick_bound_is_part_of_the_whole_one(
    plan: Plan, scale: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the steps are gone over in many blocks."""
    monkeypatch.setattr(lstm_screen, "BLOCK", block)
    for assumed in _assumptions(case_of(plan), scale):
        (quick, gates), whole = _quick(assumed), _whole(assumed)
        steps, upstream = len(quick.c.v), quick.shown.upstream
        pairs = [(gates, whole.wx), (quick.c, whole.states["c"])]
        pairs += [(quick.before[name], whole.before[name]) for name in ("h", "c")]
        assert bool((gates.e > 0).all())
        for n in range(steps):
            coming, h, c = quick.coming(n, slice(None)), whole.states["h"], whole.coming["c"]
            pairs.append((Number(coming["h"].v + upstream[n], coming["h"].e, h.u), Number(h.v[n], h.e[n], h.u)))
            pairs.append((coming["c"], Number(c.v[n], c.e[n], c.u)))
        inside = quick.shown.valid
        for at, (one, other) in enumerate(pairs):
            v, e = one.v, one.e
            if inside is not None and at < 2:  # beyond an item's end no gradient of a gate is compared
                v, e = torch.where(inside, v, other.v), torch.where(inside, e, 0)
            assert bool((e <= other.e * (1 + ROUNDINGS)).all())
            assert bool(((v - other.v).abs() <= other.e).all())


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.dtype} {plan.steps}")
def test_right_gradients_are_cleared_by_it(plan: Plan) -> None:
    """With what the whole look finds of them: the sums and states, and a ratio that is not higher."""
    for assumed in _assumptions(case_of(plan)):
        judge = judge_of(assumed)
        screen = QuickLook.of(judge, assumed.run)
        assert screen is not None
        told: list[int] = []
        quick, whole = screen(assumed.back, told.append), judge(assumed.back)
        assert quick is not None
        assert sum(told) == plan.steps
        one, other = quick.finding, whole.finding
        assert (one.steps, one.values, one.first, one.over) == (other.steps, other.values, None, None)
        assert one.worst is not None
        assert one.worst.ratio <= CLOSE
        own = _whole(assumed).wx
        least = (own.e * judge.layer.bound_factor / own.v.abs()).flatten(0, 1).amin(0)
        assert bool((one.resolution.flatten() >= least * (1 - CARRIED)).all())
        assert not one.coarse()
        for name, (value, bound) in whole.sums.known(whole.steps).items():
            assert bool(((quick.sums.values[name] - value).abs() <= bound).all())


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.dtype} {plan.steps}")
def test_it_tells_nothing_of_a_gradient_that_is_off(plan: Plan) -> None:
    """By little more than half of the quick bound, up or down, or where it is no number; the run is then judged, and
    each step told once."""
    case = case_of(plan)
    at = 0, 0, 3
    for assumed in _assumptions(case)[:: plan.directions]:
        own, factor = _quick(assumed)[1], judge_of(assumed).layer.bound_factor
        off = 1.1 * CLOSE * factor * float(own.e[at]) + 2 * float((own.v[at] - assumed.back.seen[at]).abs())
        for size in (off, -off, math.nan, math.inf, -math.inf):
            seen = assumed.back.seen.clone()
            seen[at] += size
            screen = QuickLook.of(judge_of(assumed), assumed.run)
            assert screen is not None
            assert screen(replace(assumed.back, seen=seen), lambda _steps: None) is None
    told: list[int] = []
    shown = {name: g.clone() for name, g in case.layers[0].pre_activations.items()}
    shown["forward"][at] += 1
    wrong = with_layer(case, 0, pre_activations=shown)
    assert backward_verdict(wrong, judge_backward(wrong, progress=told.append)).verdict == "differ"
    assert sum(told) == plan.steps * len(case.spec.places)


def test_a_mistake_and_other_functions_are_not_looked_at_so() -> None:
    assumed = _assumptions(case_of(PLANS[0]))[0]
    assert QuickLook.of(judge_of(assumed.with_changes({"carry-c": None})), assumed.run) is None
    hard = _assumptions(case_of(Plan(0, hard=True)))[0]
    assert QuickLook.of(judge_of(hard), hard.run) is None
    assert QuickLook.of(judge_of(replace(assumed, u=replace(assumed.u, stored=2.0**-11))), assumed.run) is None


def test_large_gradients_are_left_to_the_layer_look() -> None:
    """Beyond 2⁸⁰ the whole bound may be infinite, and then nothing may be told."""
    assumed = _assumptions(case_of(PLANS[0]))[0]
    back = replace(assumed.back, upstream=assumed.back.upstream * 1e30, seen=assumed.back.seen * 1e30)
    screen = QuickLook.of(judge_of(assumed), assumed.run)
    assert screen is not None
    assert screen(back, lambda _steps: None) is None
