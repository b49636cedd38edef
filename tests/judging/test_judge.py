"""A planted fault that moves the float64 result by more than two bounds is found, and where it is."""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.cells import CELLS
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.judge import Judge
from rnnspect.judging.resolution import SHIFTS
from tests.judging.cases import (
    DTYPES,
    Case,
    build,
    draw,
    expected,
    judge,
    of_case,
    outputs,
    prepared,
    signal,
    states,
)
from tests.marks import sampled

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnnspect.network.parameters import LayerParameters

pytestmark = pytest.mark.usefixtures("no_causes")

EACH = 12
LEAST = 3
"""So many of them must have been large enough to demand that they be found."""


def _entry(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    """One entry of a weight changed."""
    w = rng.choice([of_case(case, module).weight_ih, of_case(case, module).weight_hh])
    w[rng.randrange(w.shape[0]), rng.randrange(w.shape[1])] += rng.choice([0.1, 1]) * case.scale
    return outputs(case, module, run)


def _bias(name: str, case: Case, module: nn.RNNBase, run: LayerRun) -> Tensor:
    bias = getattr(of_case(case, module), name)
    bias.zero_()
    return outputs(case, module, run)


def _bias_ih(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    return _bias("bias_ih", case, module, run)


def _bias_hh(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    return _bias("bias_hh", case, module, run)


def _gates(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    """Two blocks of rows exchanged in every parameter."""
    p, size, gates = of_case(case, module), case.hidden, len(CELLS[case.cell].gates)
    a, b = rng.sample(range(gates), 2) if gates > 1 else (0, 0)
    for w in (p.weight_ih, p.weight_hh, p.bias_ih, p.bias_hh):
        if w is not None:
            rows = w.view(gates, size, -1)
            rows[[a, b]] = rows[[b, a]].clone()
    return outputs(case, module, run)


def _step(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    """A step that was not taken: its output is that of the step before."""
    t = rng.randrange(1, case.steps)
    order = case.steps - 1 - t if case.reverse else t
    rest = torch.cat([run.x[:order], run.x[order + 1 :]])
    y = outputs(replace(case, steps=case.steps - 1), module, replace(run, x=rest, h=rest))
    again = y[order : order + 1] if case.reverse else y[order - 1 : order]
    return torch.cat([y[:order], again, y[order:]])


def _state(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    """A state that was forgotten on the way: the rest starts from zeros. At the first step, h0 and c0 are."""
    t = rng.randrange(case.steps)
    fresh = replace(run, h0=torch.zeros_like(run.h0), c0=torch.zeros_like(run.c0))  # type: ignore[arg-type]
    cut = case.steps - t if case.reverse else t
    done, left = (run.x[cut:], run.x[:cut]) if case.reverse else (run.x[:cut], run.x[cut:])
    parts = [outputs(case, module, replace(fresh, x=left))]
    if t:
        parts.insert(0, outputs(case, module, replace(run, x=done)))
    return torch.cat(parts[::-1] if case.reverse else parts)


def _direction(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    return outputs(case, module, replace(run, x=run.x.flip(0))).flip(0)


def _unit(case: Case, module: nn.RNNBase, run: LayerRun, rng: random.Random) -> Tensor:
    """One number off by three bounds."""
    y = outputs(case, module, run).clone()
    bound = _bounds(case, of_case(case, module), replace(run, h=y))
    order, b, j = rng.randrange(case.steps), rng.randrange(case.batch), rng.randrange(y.shape[2])
    width = bound[order, b, j] * 3 + torch.finfo(case.dtype).tiny
    y[case.steps - 1 - order if case.reverse else order, b, j] += width * rng.choice([-1, 1])
    return y


FAULTS = (_entry, _bias_ih, _bias_hh, _gates, _step, _state, _direction, _unit)


def _bounds(case: Case, p: LayerParameters, run: LayerRun) -> Tensor:
    layer = Judge(CELLS[case.cell], p, None, case.nonlinearity).layer
    (chunk,) = chunks(run, 10**9)
    return layer.compare(chunk, layer.begin(run.c0), layer.wide).bound


@torch.inference_mode()
def _planted(fault, case: Case, rng: random.Random) -> str:
    module, x, (h0, c0) = build(case), signal(case), states(case)
    true = of_case(case, deepcopy(module))
    run = LayerRun(x, x, h0, c0, None, case.reverse)
    run = replace(run, h=fault(case, module, run, rng))
    finding = judge(case, true, run)
    bound = _bounds(case, true, run)
    engine = run.h.flip(0) if case.reverse else run.h
    moved = (expected(case, true, run) - engine.double()).abs()
    over = (moved > 2 * bound).nonzero()
    if not len(over) or not bool(moved.isfinite().all()):
        return "too small to demand"
    assert finding.first is not None, ("missed", case, over[0])
    assert finding.over is not None
    at = (finding.first.order, finding.first.batch, finding.first.unit)
    assert at <= tuple(over[0].tolist()), ("late", case, finding.first, over[0])
    assert moved[at] > 0.9 * bound[at], ("elsewhere", case, finding.first, over[0])
    assert finding.first.step == (case.steps - 1 - at[0] if case.reverse else at[0])
    assert finding.over.units[over[:, 2]].all()
    assert finding.over.items[over[:, 1]].all()
    return "found"


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fault", sampled(FAULTS, 3), ids=lambda fault: fault.__name__.strip("_"))
def test_fault_is_found_where_it_is(fault, dtype: torch.dtype) -> None:
    rng, counts = random.Random(str((fault.__name__, dtype))), Counter[str]()
    while sum(counts.values()) < EACH or counts["found"] < LEAST:
        case = draw(rng, 48, 1e6)
        if (fault is _gates and case.cell == "rnn") or case.steps < 2:
            continue
        steps = min(case.steps, 300)
        case = replace(case, dtype=dtype, engine="torch", ragged=False, recorded="", bias=True, steps=steps)
        counts[_planted(fault, case, rng)] += 1
        assert sum(counts.values()) < 10 * EACH


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm", "projected"])
def test_a_shift_of_twice_the_resolution_is_found(kind: str, dtype: torch.dtype) -> None:
    """Every gate of every unit."""
    cell, proj = ("lstm", 4) if kind == "projected" else (kind, 0)
    case = Case(cell, dtype, 40, 2, 5, 6, proj, seed=1)
    module, run, _ = prepared(case)
    true = of_case(case, deepcopy(module))
    clean = judge(case, true, run)
    assert clean.first is None
    gates, demanded = len(CELLS[case.cell].gates), 0
    for at in range(gates * case.hidden):
        resolution = float(clean.resolution[divmod(at, case.hidden)])
        wrong = deepcopy(module)
        bias = wrong.bias_ih_l0.detach()
        was = float(bias[at])
        bias[at] += 2 * resolution + 4 * ROUNDOFF[dtype].stored * abs(was)  # it rounds to the engine's dtype
        if resolution > 0.01 or abs(float(bias[at]) - was) < 2 * resolution:
            continue
        demanded += 1
        with torch.inference_mode():
            shifted = replace(run, h=outputs(case, wrong, run))
        assert judge(case, true, shifted).first is not None, (at, resolution)
    assert demanded > 0 or dtype == torch.bfloat16


@pytest.mark.parametrize("cases", [40, pytest.param(500, marks=pytest.mark.campaign)])
def test_a_shift_of_one_and_a_half_times_the_resolution_is_found_in_drawn_networks(cases: int) -> None:
    """One gate of one unit of each, downwards, as the resolution is told."""
    rng, seen = random.Random(f"resolution {cases}"), 0
    while seen < cases:
        dtype = rng.choice([torch.float32, torch.float64])
        case = Case(rng.choice(["rnn", "gru", "lstm"]), dtype, rng.randint(2, 60), rng.randint(1, 3), rng.randint(1, 9),
                    rng.randint(2, 40), 0, seed=rng.randrange(10**6))  # fmt: skip
        module, run, _ = prepared(case)
        clean = judge(case, of_case(case, deepcopy(module)), run)
        assert clean.first is None
        at = rng.randrange(len(CELLS[case.cell].gates) * case.hidden)
        resolution = float(clean.resolution[divmod(at, case.hidden)])
        wrong = deepcopy(module)
        bias = wrong.bias_ih_l0.detach()
        was = float(bias[at])
        bias[at] -= 1.5 * resolution
        if not resolution <= SHIFTS[-1] or was - float(bias[at]) < 1.4 * resolution:  # below what the dtype stores
            continue
        seen += 1
        with torch.inference_mode():
            shifted = replace(run, h=outputs(case, wrong, run))
        assert judge(case, of_case(case, module), shifted).first is not None, (case, at, resolution)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("bias", [-9.0, -6.0, 6.0, 9.0])
def test_the_resolution_of_gates_that_are_nearly_shut_or_open_is_one_that_was_tried(kind: str, bias: float) -> None:
    case = Case(kind, torch.float32, 30, 2, 5, 6, seed=2)
    module, run, _ = prepared(case)
    gates, demanded, blind = len(CELLS[kind].gates), 0, 0
    for gate in range(gates):
        shut = deepcopy(module)
        shut.bias_ih_l0.detach()[gate * case.hidden : (gate + 1) * case.hidden] += bias
        with torch.inference_mode():
            ran = replace(run, h=outputs(case, shut, run))
        clean = judge(case, of_case(case, shut), ran)
        assert clean.first is None
        for at in range(gate * case.hidden, (gate + 1) * case.hidden):
            resolution = float(clean.resolution[divmod(at, case.hidden)])
            if resolution == torch.inf:
                blind += 1
                continue
            assert resolution <= SHIFTS[-1]
            wrong = deepcopy(shut)
            wrong.bias_ih_l0.detach()[at] -= 2 * resolution + 8e-7 * abs(bias)  # downwards, as the resolution is told
            with torch.inference_mode():
                shifted = replace(run, h=outputs(case, wrong, run))
            demanded += 1
            assert judge(case, of_case(case, shut), shifted).first is not None, (at, resolution)
    assert demanded + blind == gates * case.hidden
    assert demanded > 0
