"""Why a run may differ though it is right: in a half type nobody said what it keeps in float32, and what not; or it ran
in a narrower dtype than the network has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.case import Case
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.finding import Progress
from rnnspect.judging.verdict import Verdict

_WAYS = {"wide": "more digits between steps than the engine shows", "sums": "sums in {dtype}"}
_NARROWER = ("bfloat16", "float16", "float32")
"""That of the fewest bits first: its numbers are nearly always numbers of the others, too."""
OfCase = TypeVar("OfCase", Case, BackwardCase)


def if_half(case: OfCase, judged: Callable[[OfCase], Verdict]) -> str | None:
    """The arithmetics in which the run does not differ, and how to declare them; None where there is none."""
    dtype = case.spec.dtype
    if dtype not in ("bfloat16", "float16") or case.declared.coarsest != ARITHMETICS[dtype]:
        return None
    found = []
    for way, said in _WAYS.items():
        name = f"{dtype}-{way}"
        if judged(replace(case, declared=ARITHMETICS[name])).verdict != "differ":
            found.append(f"{said.format(dtype=dtype)} (--arithmetic {name})")
    return f"{' or '.join(found)} would explain it; check with that if it is intended" if found else None


def if_half_back(case: BackwardCase, progress: Progress) -> str | None:
    """The same of the gradients of a pass."""

    def judged(case: BackwardCase) -> Verdict:
        return backward_verdict(case, judge_backward(case, progress=lambda steps: progress(None, steps)))

    return if_half(case, judged)


def if_narrower(case: Case, judged: Callable[[Case], Verdict]) -> str | None:
    """The dtype in which the run does not differ, where all numbers that were seen are numbers of it; None where there
    is none. A float32 model that ran in bfloat16 gives such numbers."""
    for name in _NARROWER:
        dtype: torch.dtype = getattr(torch, name)
        narrower = torch.finfo(dtype).eps > torch.finfo(getattr(torch, case.spec.dtype)).eps
        if not narrower or (seen := case.observation.of_numbers(dtype)) is None:
            continue
        parameters = {name: tensor.to(dtype) for name, tensor in case.parameters.items()}
        sequence = case.sequence.to(case.sequence.x.device, dtype)
        declared = ARITHMETICS[name].for_cell(case.spec.cell_type, seen.engine.one_by_one)
        made = Case(case.spec.with_changes(dtype=name), parameters, sequence, seen, declared)
        if judged(made).verdict != "differ":
            return f"{name} would explain it; if it ran in {name}, check a copy in {name} (--dtype {name})"
    return None
