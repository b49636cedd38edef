"""Runs that leave the range of their numbers: with a softplus or σ left out a state may grow until it is infinite, and
is NaN from there on. The steps before tell what was done."""

from __future__ import annotations

from rnnspect.causes.search.beginning import STEPS
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.finding import PlaceFinding
from rnnspect.judging.stack import Judged

_FAR = 1e4
"""Times the largest h of the first steps."""


def untold(judged: Judged, place: PlaceFinding) -> bool:
    """Whether a mistake cannot be told of a place since some of its values cannot be judged. Where the engine's own h
    runs away, the first steps are enough: they have to agree in any case."""
    if not place.finding.unjudged:
        return False
    assumed = judged.assumptions[place.at]
    return not assumed.seen or not _runs_away(assumed)


def any_runs_away(judged: Judged) -> bool:
    """Whether the engine's h runs away somewhere. Then a final state that cannot be judged does not count."""
    return any(assumed.seen and _runs_away(assumed) for assumed in judged.assumptions.values())


def _runs_away(assumed: Assumption) -> bool:
    run = assumed.run
    first = run.first(STEPS).h.abs().max()
    return not bool(run.h.abs().max() <= _FAR * first)
