"""Ours, times a factor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspect.causes.recovered.part import ParameterPart, Relation

_EXACT = 1e-100
"""A standard error of 0, that of what is zero for sure, is taken for this."""


def multiple(part: ParameterPart) -> Relation | None:
    """All of it by one factor."""
    return next(iter(all_of([part])), None)


def all_of(parts: Sequence[ParameterPart]) -> list[Relation]:
    """Several parameters by one factor; empty where there is none."""
    factor = _factor([(part, part.told) for part in parts])
    if not all(part.fits(part.ours * factor) for part in parts):
        return []
    said = f"{'are' if len(parts) > 1 else 'is'} {factor:.4g} times as large in the engine"
    return [Relation(said, tuple(term * factor for term in part.terms)) for part in parts]


def multiple_of(part: ParameterPart, where: Tensor) -> float:
    """The factor of some numbers (rows, columns), whether or not it fits."""
    return _factor([(part, where & part.told)])


def _factor(parts: Sequence[tuple[ParameterPart, Tensor]]) -> float:
    """By least squares, from some numbers of each."""
    ours, theirs, error = (
        torch.cat(of) for of in zip(*([p.ours[at], p.theirs[at], p.error[at]] for p, at in parts), strict=True)
    )
    weight = error.clamp(min=_EXACT).square().reciprocal()
    norm = float((weight * ours.square()).sum())
    return float((weight * ours * theirs).sum()) / norm if norm else 1.0
