"""Ours, times a factor."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rnnspect.causes.recovered.part import ParameterPart


def multiple(part: ParameterPart) -> str | None:
    """All of it by one factor."""
    if (factor := factor_of([part])) is not None:
        return f"is {factor:.4g} times as large in the engine"
    return None


def factor_of(parts: Sequence[ParameterPart]) -> float | None:
    """The one factor of several parameters; None where there is none."""
    ours, theirs, weight = (
        torch.cat([of[part.told] for part, of in made])
        for made in zip(*([(p, p.ours), (p, p.theirs), (p, p.error.square().reciprocal())] for p in parts), strict=True)
    )
    norm = float((weight * ours.square()).sum())
    factor = float((weight * ours * theirs).sum()) / norm if norm else 1.0
    return factor if all(part.fits(part.ours * factor) for part in parts) else None
