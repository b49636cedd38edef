"""Why a run differs: the known mistakes after which it agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.explaining.clock import SECONDS, Clock
from rnnspect.explaining.finals import explain_finals
from rnnspect.explaining.search import Search
from rnnspect.verdict import Explained

if TYPE_CHECKING:
    from rnnspect.explaining.case import Case
    from rnnspect.judging.stack import Judged

__all__ = ["SECONDS", "explain"]


@torch.inference_mode()
def explain(case: Case, judged: Judged, seconds: float = SECONDS) -> Explained:
    """Every known mistake, or pair of them, that explains the first layer and direction that differs, the likeliest
    first; then the same for the first that these leave over, and so on.

    A layer above runs on what the one below really gave, so each shows its own mistakes only.
    """
    clock = Clock(seconds)
    found = explain_finals(judged) or Search(case, judged, clock).explained()
    if clock.is_over and not found.causes:
        note = f"looking for its cause was stopped after {seconds:g} s, before every known mistake had been tried"
        return Explained(found.causes, found.indistinguishable, note)
    return found
