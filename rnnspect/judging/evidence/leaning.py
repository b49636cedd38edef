"""Whether recorded numbers were truncated or rounded down: then h is on one side of what the equations give at most
steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.evidence.suspects import look_of, why_not
from rnnspect.judging.if_rounded import RoundedWays
from rnnspect.judging.observation import Observation
from rnnspect.judging.recorded_precision import CUTS

_DEVIATIONS = 4
"""Standard deviations of a mean, which numbers that were rounded to nearest hardly reach."""


def leaning_ways(
    assumptions: Iterable[Assumption], cut_off: Callable[[], RoundedWays], finals_of: Observation | None
) -> RoundedWays:
    """Those of the ways in which numbers may have been cut off to whose side h leans. Of an observation in which only
    final states differ (`finals_of`) also those in which h was not cut off, as h tells nothing of them then."""
    every = list(assumptions)
    sides = [side for side in CUTS if leans(every, side)]
    ways = cut_off() if sides or finals_of else []
    return [(way, seen) for way, seen in ways if way.cut in sides or (finals_of and _has_the_same_h(seen, finals_of))]


def _has_the_same_h(a: Observation, b: Observation) -> bool:
    kept = ((a.kept_of((*at, "h")), b.kept_of((*at, "h"))) for at in a.layers)
    return all(one == other for one, other in kept)


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
