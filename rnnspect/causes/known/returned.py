"""c returned in place of h: only in the output, or, where the two are exchanged, also to the next step.

The first step, which begins with a known state, tells whether one of these is worth trying.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import FirstStep
from rnnspect.causes.known._operations import with_results
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.layer import cast

_NEARER = 16
"""The first step's output has to be so many times nearer to c than to h."""
_ROUNDED = 32
"""By how many unit roundoffs h may be off if the h before it is right: those of σ, tanh and c."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    if assumed.cell.name != "lstm" or assumed.p.weight_hr is not None:
        return
    step = FirstStep.of(assumed) if assumed.seen else None
    if (is_c := step is not None and _is_c(step)) or not assumed.seen:
        yield Cause(
            "cell-state-returned",
            f"{assumed.output_in_words} is c in place of h, and the state that goes on is right",
            "Return h, o ⊙ tanh(c), at each step.",
            _returning_c if assumed.seen else _giving_c,
        )
    if is_c or not assumed.seen or assumed.run.error is not None:  # then the layers below may have the mistake, too
        yield Cause(
            "h-c-exchanged",
            "h and c are swapped after each step",
            "Take (h, c) from each step in the cell's own order: PyTorch, Keras and ONNX have (h, c), TensorFlow 1 and "
            "Flax (c, h).",
            _exchanging,
            {"state": "each step"},
        )


def _is_c(step: FirstStep) -> bool:
    ((equations, before),) = step.layers
    h, c = equations.step(equations.input(step.x), before)
    return bool((step.h - c).abs().max() * _NEARER <= (step.h - h).abs().max())


def _exchanging(assumed: Assumption) -> Assumption:
    return replace(assumed, cell=_with_states_exchanged(assumed.cell), has_final_states=False)


@functools.cache
def _with_states_exchanged(cell: Cell) -> Cell:
    return with_results(cell, lambda _a, q: {"h": q["c"], "c": q["h"]})


def _giving_c(assumed: Assumption) -> Assumption:
    """The assumption about a layer that was not observed: its states stand in each other's place, at the beginning and
    in each step, so that the first of them, which it hands on, is c."""
    cell, run = _with_first_state_c(assumed.cell), assumed.run
    return replace(assumed, cell=cell, exchanged=True).with_run(h0=run.c0, c0=run.h0)


@functools.cache
def _with_first_state_c(cell: Cell) -> Cell:
    """The cell with its states exchanged before and after each step. It is only stepped: no h is compared with it."""

    @functools.wraps(cell.step)
    def step(a: Any, wx: Any, c: Any, h: Any) -> dict[str, Any]:
        q = cell.step(a, wx, h, c)
        return {**q, "h": q["c"], "c": q["h"]}

    return replace(cell, step=step)


def _returning_c(assumed: Assumption) -> Assumption:
    """The assumption with the h that the engine had beside each c that it returned, which is uncertain by rounding
    errors."""
    run = assumed.run
    run = replace(run.take(run.order(0, run.x.shape[0])), reverse=False)
    p, unit = cast(assumed.p, torch.float64), LAMBDA * assumed.p.terms**0.5 * assumed.u.sums
    gates = len(assumed.cell.gates)  # o is the last of them
    a, x, c, h = Numbers(p, gates, assumed.nonlinearity), run.x[:].double(), run.h.double(), run.h0.double()
    by_x, by_h = (p.split(w, gates, 0)[-1].square().t() for w in (p.weight_ih, p.weight_hh))
    seen = torch.zeros_like(c) if p.weight_ch is None else a.peepholes()[-1] * c
    received = 0 if run.error is None else run.error[:].double().square() @ by_x
    of_sums = (x.square() + 1).sum(2, keepdim=True) * by_x.sum(0) * unit**2 + (seen * unit).square() + received
    every, off, most = torch.empty_like(c), torch.zeros_like(h), 0.0
    for t in range(len(x)):
        *_, s = a.gates(a.input(x[t]), h)
        o, shown = (s + seen[t]).sigmoid(), c[t].tanh()
        sums = (of_sums[t] + (off.square() + unit**2) @ by_h).sqrt()
        off = (o * (1 - o) * shown).abs() * sums + _ROUNDED * assumed.u.stored
        h, most = o * shown, max(most, float(off.max()))
        every[t] = h
    u = replace(assumed.u, absolute=assumed.u.absolute + most)
    return replace(assumed, run=replace(run, h=every), u=u, has_final_states=False)
