"""Gradients of an engine that computes many steps at once, for which no limit is proven.

Of a cumulated sum or product the gradient of each step is what all later steps add up to, less what most of them take
away again: it errs by the size of those sums, also where the step's own gradient is small, or exactly 0.
"""

from __future__ import annotations

from dataclasses import replace

from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.verdict import Verdict


def of_many_steps(case: BackwardCase) -> Verdict | None:
    """`cannot tell` for gradients that are beyond the limit of single steps, and by no more than such sums may err by:
    a rounding of the largest gradient at every step. None for others, and where no steps can be computed together."""
    held_to, u = case.declared.for_cell(case.spec.cell_type, case.engine.one_by_one), case.declared.roundoff
    if not held_to.coarsest.roundoff.regrouped:
        return None
    largest = max(float(g.abs().max()) for layer in case.layers for g in layer.pre_activations.values())
    room = case.sequence.steps * u.stored * largest
    wider = replace(case, declared=replace(case.declared, roundoff=replace(u, tiny=u.tiny + room)))
    found = backward_verdict(wider, judge_backward(wider))
    if found.verdict == "differ":
        return None
    how_far = f"by at most {room:.1e}, which many steps at once may round by"
    why = f"some gradients are beyond the limit of single steps, {how_far}"
    finer = "" if case.spec.dtype == "float64" else "a copy in float64 (--dtype float64) shows far smaller errors, and "
    advice = f"{finer}an engine that is one step has its gradients proved"
    return replace(found, verdict="cannot tell", reason=f"{why}; {advice}")
