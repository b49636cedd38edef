"""Gradients of an engine that computes many steps at once, for which no limit is proven.

For a cumulative sum or product, the gradient of each step is the sum of those of all later steps, most of which cancels
again. So it has a rounding error in proportion to those sums, even where the step's own gradient is small, or exactly
0.
"""

from __future__ import annotations

from dataclasses import replace

from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.results import ResultsCase, expected
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import Declared
from rnnspect.judging.rounding import sizes_of
from rnnspect.judging.verdict import Verdict


def of_many_steps(case: BackwardCase) -> Verdict | None:
    """`cannot tell` for gradients that are above the limit of single steps by no more than such sums may err: one
    rounding of the largest gradient for each step. None for others, and for networks whose steps cannot be computed
    together."""
    if not (room := _room(case)):
        return None
    wider = replace(case, declared=_with(case.declared, room))
    return _cannot_tell(backward_verdict(wider, judge_backward(wider)), room)


def results_of_many_steps(case: BackwardCase, results: ResultsCase) -> Verdict | None:
    """As `of_many_steps`, for the results of a pass as a whole; the case has its layers."""
    if not (room := _room(case)):
        return None
    wider = replace(results, declared=_with(results.declared, room))
    return _cannot_tell(results_verdict(wider, expected(wider), {}), room)


def _room(case: BackwardCase) -> float:
    """How far off a gradient may be; 0 where no steps can be computed together."""
    held_to = case.declared.for_cell(case.spec.cell_type, case.engine.one_by_one)
    if not held_to.coarsest.roundoff.regrouped:
        return 0.0
    largest = max(float(sizes_of(g).max()) for layer in case.layers for g in layer.pre_activations.values())
    return case.sequence.steps * case.declared.roundoff.stored * largest


def _with(declared: Declared, room: float) -> Declared:
    return replace(declared, roundoff=replace(declared.roundoff, tiny=declared.roundoff.tiny + room))


def _cannot_tell(found: Verdict, room: float) -> Verdict | None:
    if found.verdict == "differ":
        return None
    why = (
        "some gradients exceed the limit of an engine that computes step by step, by at most "
        f"{room:.1e}; an engine that computes many steps at once may round by as much"
    )
    is_widest = found.spec.dtype == "float64"
    finer = "" if is_widest else "a copy in float64 (--dtype float64) shows far smaller errors, and "
    advice = f"{finer}gradients of an engine that computes one step can be proved"
    return replace(found, verdict="cannot tell", reason=f"{why}; {advice}")
