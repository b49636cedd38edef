"""Why a run in a half type may differ although it is right: nobody said what it keeps in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS, HALF_TYPES
from rnnspect.judging.finding import Progress
from rnnspect.judging.verdict import Verdict

_WAYS = {"wide": "more digits between steps than the engine shows", "sums": "sums, or σ and tanh, computed in {dtype}"}
OfCase = TypeVar("OfCase", Case, BackwardCase)


def too_fine(case: Case) -> str | None:
    """Why a run in a half type may differ though it is right: it was held to an arithmetic that stores more digits."""
    dtype, allowed = case.spec.dtype, case.declared.roundoff
    if dtype not in HALF_TYPES or allowed.stored >= ARITHMETICS[dtype].roundoff.stored:
        return None
    how = "-log-scan" if allowed.logs else "-any-order" if allowed.regrouped else ""
    steps = f":{allowed.logs:.0f}" if 0 < allowed.logs < math.inf else ""
    held_to, meant = case.declared.name, f"{dtype}{how}{steps}"
    return f"the network is in {dtype}, but was checked as {held_to}; --arithmetic {meant} is probably meant"


def if_half(case: OfCase, judged: Callable[[OfCase], Verdict]) -> str | None:
    """The arithmetics in which the run does not differ, and how to declare them; None where there is none."""
    dtype = case.spec.dtype
    if dtype not in HALF_TYPES or case.declared.coarsest != ARITHMETICS[dtype]:
        return None
    found = []
    for way, said in _WAYS.items():
        name = f"{dtype}-{way}"
        if judged(replace(case, declared=ARITHMETICS[name])).verdict != "differ":
            found.append(f"{said.format(dtype=dtype)} (--arithmetic {name})")
    return f"{' or '.join(found)} would explain this; if that is intended, check with it" if found else None


def if_half_back(case: BackwardCase, progress: Progress) -> str | None:
    """The same for the gradients of a pass backwards."""

    def judged(case: BackwardCase) -> Verdict:
        return backward_verdict(case, judge_backward(case, progress=lambda steps: progress(None, steps)))

    return if_half(case, judged) or _if_operands(case, judged)


def _if_operands(case: BackwardCase, judged: Callable[[BackwardCase], Verdict]) -> str | None:
    """The same of a wider network that was held to a half type: autocast rounds its weights for each product, too."""
    half = next((name for name in HALF_TYPES if case.declared.coarsest == ARITHMETICS[name]), None)
    if half is None or case.spec.dtype in HALF_TYPES:
        return None
    name = f"{half}-products"
    if judged(replace(case, declared=ARITHMETICS[name])).verdict == "differ":
        return None
    return f"weights rounded to {half} for products, as by autocast, would explain this; check with --arithmetic {name}"
