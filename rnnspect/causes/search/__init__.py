"""Why a run differs: the known mistakes after which it agrees."""

from __future__ import annotations

from dataclasses import replace

import torch

from rnnspect.causes.search.hypotheses import Search
from rnnspect.judging.case import Case
from rnnspect.judging.stack import Judged
from rnnspect.judging.verdict import Explained

SECONDS = 10.0
"""How long each run that differs is looked into, where nobody says."""


@torch.inference_mode()
def explain(case: Case, judged: Judged, seconds: float | None = None) -> Explained:
    """Every known mistake, or pair of them, that explains the first layer and direction that differs, the likeliest
    first; then the same for the first that these leave over, and so on.

    A layer above runs on what the one below really gave, so each shows its own mistakes only. After so many seconds,
    `SECONDS` if nothing is said, no other mistake is tried; with 0 none is.
    """
    seconds = SECONDS if seconds is None else seconds
    if not seconds:
        return Explained()
    search = Search(case, judged, seconds)
    found = search.explained()
    if search.is_over and not found.causes:
        note = f"looked for a known cause for {seconds:g} s, which was not enough to try every pair of them"
        return replace(found, note=note)
    return found
