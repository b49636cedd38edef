"""What all values of a run together add to a verdict: which parameters are off, and whether that alone is a proof."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.case import Case
from rnnspect.judging.evidence.suspects import rounds_alike, suspects
from rnnspect.judging.regrouping import with_regrouping
from rnnspect.judging.resolution import without_effect
from rnnspect.judging.suspect import Suspect
from rnnspect.judging.verdict import Point, Verdict


@torch.inference_mode()
def weighed(case: Case, assumptions: Iterable[Assumption], verdict: Verdict, search: bool = True) -> Verdict:
    """The verdict with its suspects. A run of which every value is within its bound differs, too, where a suspect is
    none that a correct engine could look like, in the coarsest arithmetic that this one may use. Of a run that agrees
    they are hints, where a correct engine does not usually look like them. Where most
    sums round alike (`rounds_alike`), nothing is told of a run whose values are within their bounds. `search` says
    whether a run that differs may be asked what takes longer: whether a row, a gate or a unit is another one."""
    coarse = [_as_coarse(case, assumed) for assumed in assumptions]
    differs = verdict.verdict == "differ"
    found = [(one, of) for of in coarse for one in suspects(of, differs, search) if _may_be(one, of, verdict.first)]
    found = [(one, of) for one, of in found if differs or not rounds_alike(of)]
    certain = tuple(one for one, _ in found if one.certain)
    if not certain and verdict.agrees:
        hints = (one for one, of in found if of.u.is_plain and one.size > one.usual)
        return replace(verdict, suspects=tuple(hints))
    if not certain or differs:
        return replace(verdict, suspects=certain)
    said = ", and ".join(one.said for one in certain)
    reason = f"every value is within its limit, but all of them together show that {said}"
    return replace(verdict, verdict="differ", reason=reason, suspects=certain)


def _may_be(one: Suspect, of: Assumption, first: Point | None) -> bool:
    """Whether a suspect could have caused the first wrong value. If that is a value of c, a gate from which c is not
    made could not, however well it fits h."""
    if first is None or first.quantity != "c" or first.at != of.at or one.gate not in of.cell.gates:
        return True
    return not bool(without_effect(of.equations, ("c",))[of.cell.gates.index(one.gate)])


def _as_coarse(case: Case, assumed: Assumption) -> Assumption:
    kept = case.observation.kept_of((*assumed.at, "h"))
    coarse = replace(assumed, u=case.declared.coarsest.over(assumed.p.terms, kept))
    return coarse.with_run(regrouped=with_regrouping(coarse.equations, coarse.run).regrouped)
