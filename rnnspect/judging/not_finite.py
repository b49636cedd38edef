"""NaN and infinity in what a run was given: no range is left there, there never was a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.network.sequence import Sequence


def not_finite(parameters: Mapping[str, Tensor], sequence: Sequence) -> str | None:
    """Where the first of them is, in words; None where all that the run was given are numbers."""
    for name, tensor in parameters.items():
        if not name.startswith("head.") and (kind := _kind(tensor)):
            return f"{name} holds {kind}: nothing can be judged"
    for name, state in (("h0", sequence.h0), ("c0", sequence.c0)):
        if state is not None and (kind := _kind(state)):
            item = int((~state.isfinite()).any(2).any(0).nonzero()[0])
            return f"{name} holds {kind} for item {item}, of which nothing can be judged"
    valid = sequence.valid()
    bad = ~sequence.x.isfinite().all(-1)
    bad = bad if valid is None else bad & valid
    if not bool(bad.any()):
        return None
    step, item = (int(at) for at in bad.nonzero()[0])
    kind = _kind(sequence.x[step, item])
    return f"x holds {kind} at step {step}, item {item}; from there on nothing can be judged"


def _kind(values: Tensor) -> str | None:
    if bool(torch.isfinite(values).all()):
        return None
    return "NaN" if bool(values.isnan().any()) else "infinity"
