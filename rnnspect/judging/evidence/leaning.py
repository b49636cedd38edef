"""Whether recorded numbers were truncated or rounded down: then h is on one side of what the equations give at most
steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.evidence.suspects import look_of, why_not

_DEVIATIONS = 4
"""Standard deviations of a mean, which numbers that were rounded to nearest hardly reach."""


def leans(assumptions: Iterable[Assumption], cut: str) -> bool:
    """Whether h is smaller than the equations give on the whole, towards zero where it was "truncated" and downwards
    where it was "floored". True where no layer shows it."""
    found = []
    for assumed in assumptions:
        if why_not(assumed) is None:
            look = look_of(assumed)[0]
            off, h = look.residual(None, None), look.rows(look.steps.after).flatten()
            found.append(off * h.sign() if cut == "truncated" else off)
    if not found:
        return True
    off = torch.cat(found)
    return are_below_zero(off[off.isfinite()])


def are_below_zero(off: Tensor) -> bool:
    """Whether finite numbers (n,) are below zero on the whole, and not by chance."""
    return float(off.mean()) < -_DEVIATIONS * float(off.std()) / math.sqrt(max(len(off), 1))
