"""Ours, and a difference of low rank: an adapter that was merged in one place and not in the other."""

from __future__ import annotations

import math

import torch

from rnnspect.causes.recovered.part import ParameterPart, Relation

_CLEAR, _SHARE, _APART = 4.0, 3, 2.0


def low_rank(part: ParameterPart) -> Relation | None:
    """The rank is that of the singular values of the difference that stand out of what the recovery errs by: of a
    matrix of independent errors the largest is about σ (√rows + √columns). Rows and columns are first divided by what
    each errs by, which leaves the rank as it is. Those of noise fall off evenly; of a low rank no other one is near."""
    rows, columns = part.ours.shape
    if min(rows, columns) < _SHARE or not bool(part.told.any()):
        return None
    error = torch.where(part.told, part.error, 0)
    of_rows = error.square().mean(1, keepdim=True).sqrt()
    of_columns = (error / of_rows).nan_to_num(0, 0, 0).square().mean(0, keepdim=True).sqrt()
    values = torch.linalg.svdvals((part.change / of_rows / of_columns).nan_to_num(0, 0, 0))
    noise = math.sqrt(rows) + math.sqrt(columns)
    rank = int((values > _CLEAR * noise).sum())
    if not 0 < rank <= min(rows, columns) // _SHARE or values[rank] > values[rank - 1] / _APART:
        return None
    return Relation(f"differs by a matrix of rank {rank}, as if an adapter (LoRA) was merged on one side only")
