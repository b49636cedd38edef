"""Why a run differs: the known mistakes after which it agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnspect.causes.search.clock import Clock
from rnnspect.causes.search.hypotheses import Search
from rnnspect.judging.verdict import Explained

if TYPE_CHECKING:
    from rnnspect.judging.case import Case
    from rnnspect.judging.stack import Judged


@torch.inference_mode()
def explain(case: Case, judged: Judged) -> Explained:
    """Every known mistake, or pair of them, that explains the first layer and direction that differs, the likeliest
    first; then the same for the first that these leave over, and so on.

    A layer above runs on what the one below really gave, so each shows its own mistakes only.
    """
    clock = Clock()
    if not clock.seconds:
        return Explained()
    found = Search(case, judged, clock).explained()
    if clock.is_over and not found.causes:
        note = f"looked for a known cause for {clock.seconds:g} s, which was not enough to try every pair of them"
        return Explained(found.causes, found.indistinguishable, note)
    return found
