"""Ours, and a difference of low rank: an adapter that was merged in one place and not in the other."""

from __future__ import annotations

import math

import torch

from rnnspect.causes.recovered.part import ParameterPart, Relation

_CLEAR, _SHARE = 4.0, 3


def low_rank(part: ParameterPart) -> Relation | None:
    """The rank is that of the singular values of the difference that stand out of what the recovery errs by: of a
    matrix of independent errors the largest is about σ (√rows + √columns)."""
    rows, columns = part.ours.shape
    if min(rows, columns) < _SHARE or not bool(part.told.any()):
        return None
    noise = float(part.error[part.told].square().mean().sqrt()) * (math.sqrt(rows) + math.sqrt(columns))
    values = torch.linalg.svdvals(part.change)
    rank = int((values > _CLEAR * noise).sum())
    if not 0 < rank <= min(rows, columns) // _SHARE:
        return None
    return Relation(f"differs by a matrix of rank {rank}, as if an adapter (LoRA) was merged on one side only")
