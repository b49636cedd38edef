"""Where a run differs."""

from __future__ import annotations

import math
from typing import NamedTuple

from rnnspect.judging.assumption import At
from rnnspect.judging.stack import Judged


class Wrong(NamedTuple):
    """Where a layer and direction first differs, in processing order, and its largest ratio of difference to bound."""

    order: int
    ratio: float
    only_final: bool = False
    """Whether every step is right, and a final state is not."""
    is_nan: bool = False
    """Whether the first wrong h is NaN. No mistake explains that: a NaN of the equations is not compared with it."""


def wrong_in(judged: Judged) -> dict[At, Wrong]:
    """Each layer and direction with a wrong h or a wrong final state."""
    wrong = {
        place.at: Wrong(
            found.first.order, found.worst.ratio if found.worst else 0.0, is_nan=math.isnan(found.first.engine)
        )
        for place in judged.places
        if place.quantity == "h" and (found := place.finding).first
    }
    steps = set(wrong)
    for point in judged.finals:
        at = point.at
        if point.ratio > 1 and at not in steps:
            ratio = max(point.ratio, wrong[at].ratio if at in wrong else 0.0)
            wrong[at] = Wrong(0, ratio, only_final=at not in judged.estimated)
    return wrong
