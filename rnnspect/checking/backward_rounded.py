"""Whether recorded gradients differ only because of how they may have been written: rounded more than they show,
truncated, or rounded down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from rnnspect.checking.recorded_gradients import RecordedGradients
from rnnspect.judging.backward.replicas import WithError
from rnnspect.judging.backward.results import ResultsCase, expected
from rnnspect.judging.backward.results_words import results_verdict
from rnnspect.judging.evidence.leaning import are_below_zero
from rnnspect.judging.if_rounded import if_they_were
from rnnspect.judging.rounding import EXACT, RecordedPrecision, Rounding
from rnnspect.judging.verdict import Verdict

WENT_IN = "output", "h_n", "c_n"
_UNITS = 4
"""Numbers that were cut off, and not rounded, are less than so many units of the last digit away."""


def if_written(
    case: ResultsCase, told: Mapping[str, WithError], read: RecordedGradients, went_in: bool
) -> Verdict | None:
    """The verdict where all gradients match if they were rounded more than they show; or if they were cut off, and lie
    on that side of what the equations give. `went_in`: dL/d output was recorded, too."""
    found = _if_rounded_more(case, told, read, went_in)
    return _if_cut(case, told, read, went_in) if found is None else found


def _if_rounded_more(
    case: ResultsCase, told: Mapping[str, WithError], read: RecordedGradients, went_in: bool
) -> Verdict | None:
    for way, kept in read.otherwise():
        changed = [g for name, g in case.given.named.items() if kept[name] != read.kept[name]]
        if not changed:
            continue  # only what went in, as the ones of a sum are: such numbers are short anyway
        with_it = went_in and any(bool(g.any()) for g in changed)  # zeros alone do not show that it was
        rounded = {name: _finer(kept[name], way, case) for name in WENT_IN if with_it and kept.get(name, EXACT).rounded}
        found = _judged(case, told, rounded, kept)
        if found.verdict != "differ":
            return if_they_were("gradients", way, found)
    return None


def _if_cut(case: ResultsCase, told: Mapping[str, WithError], read: RecordedGradients, went_in: bool) -> Verdict | None:
    shown = [name for name, g in case.given.named.items() if bool(g.any())]
    for way, kept in read.cut_off():
        if any(kept[name].cut is None for name in shown):
            continue  # beside numbers with all their digits others were not cut off
        rounded = {name: kept[name] for name in WENT_IN if went_in and kept.get(name, EXACT).rounded}
        if not _leans(case, told, kept, way.cut):
            continue
        found = _judged(case, told, rounded, kept)
        if found.verdict != "differ":
            return if_they_were("gradients", way, found)
    return None


def _leans(case: ResultsCase, told: Mapping[str, WithError], kept: Mapping[str, RecordedPrecision], cut: str) -> bool:
    """Whether gradients are a little smaller than the equations give on the whole, towards zero where they were
    "truncated" and downwards where they were "floored"."""
    found = []
    for name, g in case.given.named.items():
        own, error = told[name]
        step = kept.get(name, EXACT).error(g)
        off = (g.double() - own) / step * (own.sign() if cut == "truncated" else 1)
        found.append(off[(error < step) & ((g != 0) | (own != 0))].flatten())
    off = torch.cat(found)
    off = off[off.isfinite()]
    if len(off) < 2 or float(off.abs().max()) > _UNITS:  # as in most wrong runs
        return False
    return are_below_zero(off)


def _judged(
    case: ResultsCase,
    told: Mapping[str, WithError],
    rounded: Mapping[str, RecordedPrecision],
    kept: Mapping[str, RecordedPrecision],
) -> Verdict:
    """The verdict on gradients that were `kept` so, for a dL/d output that was `rounded` so."""
    made = case if rounded == case.went_in else replace(case, went_in=rounded)  # which keeps what it computed
    found = results_verdict(made, expected(made) if rounded else told, kept)
    return replace(found, notes=())  # what they tell of is an assumption


def _finer(kept: RecordedPrecision, way: Rounding, case: ResultsCase) -> RecordedPrecision:
    """The precision of what went in, where everything was rounded in this way: 0.01 may be 0.01000."""
    dtype = case.upstream.output.dtype
    return min(kept, way.kept(dtype, dtype), key=lambda one: one.at(1))
