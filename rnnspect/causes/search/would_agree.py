"""Whether a check would answer `agree` if the mistakes had been made. A mistake explains nothing if the values that
differed merely cannot be judged any more. With a softplus or σ left out a state may grow to infinity and be NaN from
there on; there the steps before are enough."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from rnnspect.causes.interface import CLEARLY, Cause
from rnnspect.causes.known.forms._other_steps import of_both_steps
from rnnspect.causes.search.beginning import STEPS
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.case import Case
from rnnspect.judging.finding import Deviation, PlaceFinding
from rnnspect.judging.stack import Judged
from rnnspect.judging.words import verdict_of

_ROWS = 256  # steps × items that are computed together
_FEW, _BITS = 2, 9.0
"""Up to two wrong values name a mistake only if they carry more than nine bits of information: some 500 mistakes are
tried, so that one may fit by chance."""
_FAR = 1e4
"""h runs away if it grows to more than so many times the largest h of the first steps."""


def untold(judged: Judged, place: PlaceFinding) -> bool:
    """Whether too many values of a place cannot be judged with the mistakes. Where the engine's own h runs away that is
    no obstacle: its first steps, which have to agree in any case, are enough."""
    if not place.finding.unjudged:
        return False
    assumed = judged.assumptions[place.at]
    return not assumed.seen or not _runs_away(assumed)


def too_little_known(case: Case, judged: Judged, hypothesis: Sequence[Cause]) -> str | None:
    """Why a check would not answer `agree` if the values that still differ were right; None where it would. Not
    required are: that errors of gates without effect would show, that units would show which a projection leaves out,
    and that a lost state would be seen, since the run differs."""
    unused = {gate for cause in hypothesis for gate in cause.unused}
    idle = torch.tensor([[gate in unused] for gate in case.spec.cell_type.gates])

    def as_right(place: PlaceFinding) -> PlaceFinding:
        seen, w_hr = place.finding.resolution, judged.assumptions[place.at].p.weight_hr
        seen = of_both_steps(seen, len(idle))
        if len(seen) != len(idle):  # the cell has other gates where the mistakes were made
            seen = seen.amax(0, keepdim=True).expand(len(idle), -1)
        known = idle if w_hr is None else idle | ~w_hr.any(0)
        resolution = torch.where(known, 0, seen)
        unjudged = place.finding.unjudged if untold(judged, place) else 0
        finding = replace(place.finding, first=None, resolution=resolution, lost={}, unjudged=unjudged)
        return replace(place, finding=finding)

    places = [as_right(place) for place in judged.places]
    finals = [replace(point, ratio=min(point.ratio, 1.0)) for point in judged.finals]
    past_use = [] if _any_runs_away(judged) else judged.past_use
    return verdict_of(case, replace(judged, places=places, finals=finals, first_finals=[], past_use=past_use)).reason


def comes_nearer(before: Judged, after: Judged, at: At) -> bool:
    """Whether with the mistakes the equations come clearly nearer to the engine's value that differed most in a place,
    or first where h runs away: a mistake that only makes the bound wider explains nothing. True where that value was
    not observed, where the changed run does not have it, or where the equations give no finite number."""
    wrong = (place.finding for place in before.places if place.at == at and place.quantity == "h")
    found = next((found for found in wrong if found.first), None)
    if found is None:
        return True
    assumed = before.assumptions[at]
    told = found.first if assumed.seen and _runs_away(assumed) else found.worst
    return told is None or _nearest(after.assumptions[at], told) <= abs(told.manual - told.engine) / CLEARLY


def shows_enough(judged: Judged, places: Collection[At]) -> bool:
    """Whether the differences in these places tell which mistake was made. One or two coarse values are explained by
    one of hundreds of mistakes by chance. A value that is off by r bounds carries log2(r) bits. True where only final
    states differ."""
    found = [place.finding for place in judged.places if place.at in places and place.quantity == "h"]
    wrong = [(one.over.count, math.log2(max(one.worst.ratio, 1))) for one in found if one.over and one.worst]
    count = sum(values for values, _ in wrong)
    return count > _FEW or not wrong or sum(values * bits for values, bits in wrong) > _BITS


def _nearest(assumed: Assumption, to: Deviation) -> float:
    """How near the equations come to a value of the engine's, at any place of the run where it now stands; 0 where that
    is not known."""
    layer, run, found = assumed.equations, assumed.run, list[float]()
    for compared in layer.compared(run, _ROWS):
        same = (compared.chunk.after[..., to.unit] == to.engine) & compared.chunk.inside
        found += (compared.q["h"].v[..., to.unit] - to.engine).abs()[same].tolist()
    return min((off for off in found if math.isfinite(off)), default=0.0)


def _any_runs_away(judged: Judged) -> bool:
    """Whether the engine's h runs away in some layer. Then a final state that cannot be judged is no obstacle."""
    return any(assumed.seen and _runs_away(assumed) for assumed in judged.assumptions.values())


def _runs_away(assumed: Assumption) -> bool:
    first, largest = (run.h[run.inside].abs().max() for run in (assumed.run.first(STEPS), assumed.run))
    return not bool(largest <= _FAR * first)
