"""What all values of a run together add to a verdict: which parameters are off, and whether that alone is proof."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from rnnspect.judging.case import Case
from rnnspect.judging.evidence.suspects import suspects
from rnnspect.judging.interpretation import Interpretation
from rnnspect.judging.suspect import Suspect
from rnnspect.judging.verdict import Verdict

_HINT, _SHARE = -40.0, 1 / 50
"""What is below the floor is worth a hint where chance is as unlikely as that, and from this share of the floor on."""


@torch.inference_mode()
def weighed(case: Case, readings: Iterable[Interpretation], verdict: Verdict) -> Verdict:
    """The verdict with its suspects. A run of which every value is within its bound differs, too, where a suspect is
    none that a correct engine could look like, in the coarsest arithmetic that this one may use."""
    coarse = [_as_coarse(case, reading) for reading in readings]
    found = [(one, of) for of in coarse for one in suspects(of, thorough=verdict.verdict == "differ")]
    certain = tuple(one for one, _ in found if one.certain)
    if not certain and verdict.agrees:
        return replace(verdict, suspects=tuple(one for one, of in found if of.u.is_plain and _is_worth_a_hint(one)))
    if not certain or verdict.verdict == "differ":
        return replace(verdict, suspects=certain)
    said = ", and ".join(one.said for one in certain)
    reason = f"every value is within its limit, but all of them together show that {said}"
    return replace(verdict, verdict="differ", reason=reason, suspects=certain)


def _is_worth_a_hint(one: Suspect) -> bool:
    return one.log10_chance < _HINT and one.size > max(_SHARE * one.floor, one.rounding)


def _as_coarse(case: Case, reading: Interpretation) -> Interpretation:
    declared = case.declared.permitted or case.declared
    return replace(reading, u=declared.over(reading.p.terms, case.observation.kept_of((*reading.at, "h"))))
