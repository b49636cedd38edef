"""A mistake that would explain a run, if more of it were known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rnnspect.causes.search.rejudging import CauseGroup
from rnnspect.judging.assumption import At


class Vague(NamedTuple):
    """A mistake that explains a run of which too little is known, and why that is too little. `seen`: whether it is
    made in observed layers only; `near`: whether only final states were recorded, and it explains them."""

    hypothesis: CauseGroup
    why: str
    seen: bool
    near: bool
    scope: Sequence[At]
