"""An h_n that was computed apart from the output, by another kernel or in another dtype: both may be right, though they
are not equal."""

from __future__ import annotations

from dataclasses import replace

from rnnspect.checking.identities.final_states import ENDS
from rnnspect.judging.case import Case
from rnnspect.judging.estimate import Paired
from rnnspect.judging.final_states import where
from rnnspect.judging.finding import Progress
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.judging.verdict import Identity, Point

_A_STEP = 8
"""Roundings. Another run is at most so many from this one for each step; what is further away is not looked at."""


def ended_apart(case: Case, judged: Judged, progress: Progress) -> tuple[Judged, Identity] | None:
    """What was found if each h_n is held to what any right run may end with, and not to the end of the output beside
    it. None where that is not wrong, or where something else is, too."""
    wrong = [one for one in judged.finals if one.ratio > 1]
    apart = {one.at: one for one in wrong if one.quantity == "h_n"}
    if not wrong or len(apart) < len(wrong) or not apart.keys().isdisjoint(judged.estimated):
        return None
    allowed = _A_STEP * case.declared.roundoff.stored * case.sequence.steps
    far = max(apart.values(), key=_distance)
    if any(place.finding.first for place in judged.places) or not _distance(far) <= allowed * _size(case):
        return None
    seen = case.observation
    ends = replace(seen, layers={at: quantities for at, quantities in seen.layers.items() if at not in apart})
    by_itself = judge_stack(
        replace(case, observation=ends), meanings=False, progress=progress, estimator=Paired(ends.layers)
    )
    held = {one.at: one for one in by_itself.finals if one.quantity == "h_n" and one.ratio <= 1}
    if not apart.keys() <= held.keys():
        return None
    finals = [held[one.at] if one.quantity == "h_n" and one.at in apart else one for one in judged.finals]
    said = (
        f"h_n of {where(case.spec, *far.at)} and the end of output differ by {_distance(far):.2g} (batch item "
        f"{far.batch}, unit {far.unit}); both match the equations"
    )
    usual = "h_n computed apart from output, by another kernel or in another dtype"
    return replace(judged, finals=finals, first_finals=[], meanings={}), Identity(ENDS, False, said, usual)


def _distance(point: Point) -> float:
    return abs(point.engine - point.manual)


def _size(case: Case) -> float:
    h_n = case.observation.h_n
    return 1.0 if h_n is None else max(1.0, float(h_n.abs().max()))
