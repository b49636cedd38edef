"""Whether a check would answer `agree` with the mistakes made: nothing is explained by what cannot be judged any more.

With a softplus or σ left out a state may grow until it is infinite, and is NaN from there on. There the steps before
tell what was done.
"""

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
"""Up to two wrong values name a mistake only if they say more than nine bits: some 500 are tried."""
_FAR = 1e4
"""Times the largest h of the first steps."""


def untold(judged: Judged, place: PlaceFinding) -> bool:
    """Whether a mistake cannot be told of a place since some of its values cannot be judged. Where the engine's own h
    runs away, the first steps are enough: they have to agree in any case."""
    if not place.finding.unjudged:
        return False
    assumed = judged.assumptions[place.at]
    return not assumed.seen or not _runs_away(assumed)


def too_little_known(case: Case, judged: Judged, hypothesis: Sequence[Cause]) -> str | None:
    """Why a check would not answer `agree` if what still differs were right; None where it would. Of gates that play no
    part where the mistakes were made nothing is asked, nor of units that a projection leaves out; nor whether a lost
    state would be seen, as the run differs."""
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
    """Whether the equations come clearly nearer to the value of a place that was furthest from them, with the mistakes
    of the run `after`: a bound that a mistake makes wider explains nothing. True where that value was not observed, or
    is none of that run's, or where what the equations give is not finite."""
    wrong = (place.finding for place in before.places if place.at == at and place.quantity == "h")
    furthest = next((found.worst for found in wrong if found.first), None)
    return (
        furthest is None
        or _nearest(after.assumptions[at], furthest) <= abs(furthest.manual - furthest.engine) / CLEARLY
    )


def shows_enough(judged: Judged, places: Collection[At]) -> bool:
    """Whether what differs in these places says which mistake was made: one or two coarse values are explained by some
    of hundreds by chance. A value that is off by so many times its bound says the logarithm of that, in bits. True
    where only final states differ."""
    found = [place.finding for place in judged.places if place.at in places and place.quantity == "h"]
    wrong = [(one.over.count, math.log2(max(one.worst.ratio, 1))) for one in found if one.over and one.worst]
    count = sum(values for values, _ in wrong)
    return count > _FEW or not wrong or sum(values * bits for values, bits in wrong) > _BITS


def _nearest(assumed: Assumption, to: Deviation) -> float:
    """How near the equations come to a value of the engine's, wherever it now stands in the run; 0 where nobody can
    tell."""
    layer, run, found = assumed.equations, assumed.run, list[float]()
    for compared in layer.compared(run, _ROWS):
        same = (compared.chunk.after[..., to.unit] == to.engine) & compared.chunk.inside
        found += (compared.q["h"].v[..., to.unit] - to.engine).abs()[same].tolist()
    return min((off for off in found if math.isfinite(off)), default=0.0)


def _any_runs_away(judged: Judged) -> bool:
    """Whether the engine's h runs away somewhere. Then a final state that cannot be judged does not count."""
    return any(assumed.seen and _runs_away(assumed) for assumed in judged.assumptions.values())


def _runs_away(assumed: Assumption) -> bool:
    run = assumed.run
    first = run.first(STEPS).h.abs().max()
    return not bool(run.h.abs().max() <= _FAR * first)
