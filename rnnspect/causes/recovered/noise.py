"""Ours, and a difference that follows no order."""

from __future__ import annotations

from rnnspect.causes.recovered.part import ParameterPart, Relation
from rnnspect.judging.evidence.fitting import rms

_FEWEST, _EVEN = 8, 0.6


def noise(part: ParameterPart) -> Relation | None:
    """In proportion to each number, or of one size for all: whichever has the more even spread."""
    told = part.told & (part.ours != 0)
    if int(told.sum()) < _FEWEST:
        return None
    told &= part.error <= part.error[told].median()  # the others may err by as much as the noise is
    change, ours = (part.theirs - part.ours)[told], part.ours[told]
    size, whole = rms(change), rms(ours)
    if size > whole / 2:
        return None
    # Small numbers change less where the noise is in proportion: compare the half of the small with that of the large.
    small, large = (rms(change[half]) for half in ours.abs().argsort().tensor_split(2))
    if small < _EVEN * large:
        return Relation(f"differs by noise of about {100 * size / whole:.2g} % of each number")
    return Relation(f"differs by noise of about {size:.2g} ({100 * size / whole:.2g} % of a typical number)")
