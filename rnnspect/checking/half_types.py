"""Why a run in a half type may differ though it is right: nobody said what it keeps in float32, and what not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.verdict import Verdict

_WAYS = {
    "wide": "an engine that keeps more digits between steps than it shows would explain it; if that is intended, check",
    "sums": "sums in {dtype} would explain it; if they are intended, check",
}
OfCase = TypeVar("OfCase", Case, BackwardCase)


def if_half(case: OfCase, judged: Callable[[OfCase], Verdict]) -> str | None:
    """The arithmetic in which the run does not differ, and how to declare it; None where there is none."""
    dtype = case.spec.dtype
    if dtype not in ("bfloat16", "float16") or case.declared.coarsest != ARITHMETICS[dtype]:
        return None
    for way, said in _WAYS.items():
        name = f"{dtype}-{way}"
        if judged(replace(case, declared=ARITHMETICS[name])).verdict != "differ":
            return f"{said.format(dtype=dtype)} with --arithmetic {name}"
    return None
