"""Whether a run differs only because its engine adds up the logarithms of decays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.verdict import Verdict

_BEGINNING = 64
"""So many steps are judged before the whole run is judged again."""


def if_logs(case: Case, judged: Callable[[Case], Verdict]) -> str | None:
    """Why a form that computes many steps at once may differ though it is right: nobody said that it adds up the
    logarithms of decays."""
    allowed, name = case.declared.coarsest.roundoff, f"{case.spec.dtype}-log-scan".removeprefix("float32-")
    if not allowed.regrouped or allowed.logs:
        return None
    made, in_order = replace(case, declared=ARITHMETICS[name]), case.spec.directions == ("forward",)
    if (in_order and judged(made.begun(_BEGINNING)).verdict == "differ") or not judged(made):
        return None
    return f"sums of the decays' logarithms explain this; if they are intended, check with --arithmetic {name}"
