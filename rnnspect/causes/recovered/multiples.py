"""Ours times a factor, or with some numbers set to 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspect.causes.recovered.part import ParameterPart, Relation, summed

_EXACT = 1e-100
"""Used in place of a standard error of 0, which numbers have that are exactly 0."""
_FEWEST, _MOST_ZERO = 4, 0.9
"""At least so many numbers have to be 0, and at most this share of all."""


def multiple(part: ParameterPart) -> Relation | None:
    """The whole parameter is multiplied by one factor."""
    return next(iter(all_of([part])), None)


def all_of(parts: Sequence[ParameterPart]) -> list[Relation]:
    """Several parameters are multiplied by one factor; empty where they are not."""
    factor = _factor([(part, part.told) for part in parts])
    if not all(part.fits(part.ours * factor) for part in parts):
        return []
    said = f"{'are' if len(parts) > 1 else 'is'} {in_digits(factor)} times as large in the engine"
    return [Relation(said, tuple(term * factor for term in part.terms)) for part in parts]


def zeros(part: ParameterPart) -> Relation | None:
    """Many of its numbers are 0, and the others are ours, perhaps times one factor, as after dropout of weights."""
    zero = part.told & (part.theirs.abs() < part.ours.abs() / 2)
    count, told = int(zero.sum()), int(part.told.sum())
    if not _FEWEST <= count <= _MOST_ZERO * told or part.hides(float(part.ours[zero].abs().median()) / 2, zero):
        return None
    factor = multiple_of(part, ~zero)
    dropped = f", as if dropout with p = {1 - 1 / factor:.2g} acted on the weights" if factor > 1 else ""
    ways = {1.0: "yours elsewhere, as if weights were pruned", factor: f"{factor:.4g} times yours elsewhere{dropped}"}
    for times, elsewhere in ways.items():
        terms = tuple(torch.where(zero, 0, term * times) for term in part.terms)
        if part.fits(summed(terms)):
            return Relation(f"is 0 in {count} of {told} numbers in the engine, and {elsewhere}", terms)
    return None


def in_digits(factor: float) -> str:
    """A factor in as many digits as tell it from 1."""
    return next(text for digits in range(4, 18) if (text := f"{factor:.{digits}g}") != "1" or factor == 1)


def multiple_of(part: ParameterPart, where: Tensor) -> float:
    """The best factor for some of the numbers (rows, columns), whether it fits or not."""
    return _factor([(part, where & part.told)])


def _factor(parts: Sequence[tuple[ParameterPart, Tensor]]) -> float:
    """The best factor by least squares, for some numbers of each part."""
    ours, theirs, error = (
        torch.cat(of) for of in zip(*([p.ours[at], p.theirs[at], p.error[at]] for p, at in parts), strict=True)
    )
    weight = error.clamp(min=_EXACT).square().reciprocal()
    norm = float((weight * ours.square()).sum())
    return float((weight * ours * theirs).sum()) / norm if norm else 1.0
