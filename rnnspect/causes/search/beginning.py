"""Checks whether a run agrees under an assumed mistake. Its first steps are checked first, as they rule out most
mistakes."""

from __future__ import annotations

from contextlib import nullcontext

from rnnspect.arithmetic.numbers import one_thread
from rnnspect.causes.search.effort import Effort
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer import LayerEquations

STEPS = 8
"""How many of the first steps, and of the steps after the first difference, an assumption is tried on."""
_ITEMS = 64
_FEW = 64
"""So few steps are computed faster in one thread."""
COMPARED = 400_000
"""What calling the operations of one step takes, in nanoseconds, for cells whose steps are judged one after the
other."""
_GLANCE, _HOPELESS = 2, 100.0
"""How many steps and items are compared before anything else, then `STEPS` of each; and how many times the usual
roundings no other order of summation has."""


def begins_well(assumed: Assumption, order: int, effort: Effort) -> bool:
    """Whether the run agrees in its first steps, and in the steps up to a few after `order`, the place of the first
    difference in processing order."""
    judge = Judge(assumed.cell, assumed.p, assumed.u, assumed.nonlinearity)
    for steps in (STEPS, order + STEPS):
        begun = _beginning(assumed.run, steps)
        with one_thread() if steps <= _FEW else nullcontext():
            if steps == STEPS and any(_is_hopeless(begun, judge.layer, few) for few in (_GLANCE, STEPS)):
                return False
            effort.spend(begun.x.shape[0] * COMPARED if judge.layer.stepwise else 0, 0)
            if not judge.agrees(begun):
                return False
        if steps >= assumed.run.x.shape[0] or order == 0:
            break
    return True


def _is_hopeless(run: LayerRun, layer: LayerEquations, few: int) -> bool:
    """Whether so few of the first steps, of as many items, refute an assumption by themselves."""
    run = run.first(few).take(items=slice(few))
    if not len(run.h):
        return True
    head = next(chunks(run, 1 if layer.stepwise else few * few))
    c = layer.begin(run.c0, run.begun_error)
    top = layer.compare(head, c, layer.plain).top
    if not 1 < top < _HOPELESS or run.error is None:
        return top >= _HOPELESS  # NaN, as of 0 / 0, is not
    # What is not known of the input is not rounding: it stays as it is.
    return layer.compare(head, c, layer.rounding_more(_HOPELESS)).top > 1


def _beginning(run: LayerRun, steps: int) -> LayerRun:
    """The first steps in processing order, of the first items."""
    run = run.first(steps)
    return run if run.x.shape[1] <= _ITEMS else run.take(items=slice(_ITEMS))
