"""Searches for the known mistakes that explain a run which differs from the equations."""

from __future__ import annotations

from dataclasses import replace

import torch

from rnnspect.causes.search.effort import Effort
from rnnspect.causes.search.hypotheses import Search
from rnnspect.causes.search.notes import unexplained
from rnnspect.judging.case import Case
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Explained


@torch.inference_mode()
def explain(case: Case, judged: Judged, seconds: float | None) -> Explained:
    """Every known mistake, or pair of them, that explains the first layer and direction that differs, the likeliest
    first; then the same for the first that these leave over, and so on. A mistake is named only if a check of the run
    with that mistake in it would agree.

    A layer above runs on what the one below really gave, so each shows its own mistakes only. The search ends after a
    fixed amount of work, so that it finds the same on every machine, or after so many `seconds`; with 0 none is made.
    Where it names nothing, a note says what it tried, and what to record or to run so that more can be told.
    """
    if seconds is not None and seconds <= 0:
        return Explained()
    search = Search(case, judged, Effort(seconds))
    found = search.explained()
    fits = any(one.seen for one in search.vague.values())
    return found if found.causes else replace(found, note=unexplained(case, judged, search), fits=fits)
