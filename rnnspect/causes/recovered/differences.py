"""Ours plus a difference: one of low rank, as of an adapter that was merged in only one of the two, or noise without
any order."""

from __future__ import annotations

import math

import torch

from rnnspect.causes.recovered.multiples import in_digits
from rnnspect.causes.recovered.part import ParameterPart, Relation
from rnnspect.judging.evidence.fitting import rms

_CLEAR, _SHARE, _APART = 4.0, 3, 2.0
_FEWEST, _EVEN = 8, 0.6


def low_rank(part: ParameterPart) -> Relation | None:
    """The rank is the number of singular values of the difference that stand out from the recovery's errors: in a
    matrix of independent errors the largest is about σ (√rows + √columns). Rows and columns are first divided by their
    errors, which does not change the rank. The singular values of noise decrease evenly; behind those of a low rank
    there is a gap."""
    rows, columns = part.ours.shape
    if min(rows, columns) < _SHARE or not bool(part.told.any()):
        return None
    error = torch.where(part.told, part.error, 0)
    of_rows = error.square().mean(1, keepdim=True).sqrt()
    of_columns = (error / of_rows).nan_to_num(0, 0, 0).square().mean(0, keepdim=True).sqrt()
    values = torch.linalg.svdvals((part.change / of_rows / of_columns).nan_to_num(0, 0, 0))
    of_noise = math.sqrt(rows) + math.sqrt(columns)
    rank = int((values > _CLEAR * of_noise).sum())
    if not 0 < rank <= min(rows, columns) // _SHARE or values[rank] > values[rank - 1] / _APART:
        return None
    return Relation(f"differs by a matrix of rank {rank}, as if an adapter (LoRA) was merged on one side only")


def noise(part: ParameterPart) -> Relation | None:
    """Noise in proportion to each number, or of one size for all: whichever is more uniform."""
    told = part.told & (part.ours != 0)
    if int(told.sum()) < _FEWEST:
        return None
    told &= part.error <= part.error[told].median()  # other numbers may have errors as large as the noise
    ours = part.ours[told]
    factor, whole = float((ours * part.theirs[told]).sum() / ours.square().sum()), rms(ours)
    change = part.theirs[told] - factor * ours
    if abs(factor - 1) * whole * math.sqrt(len(ours)) < _CLEAR * rms(change):  # noise may look like a factor
        factor, change = 1.0, part.theirs[told] - ours
    size, times = rms(change), "" if factor == 1 else f"is {in_digits(factor)} times as large in the engine, and "
    if size > whole / 2:
        return None
    # Small numbers change less where the noise is in proportion: compare the half of the small with that of the large.
    small, large = (rms(change[half]) for half in ours.abs().argsort().tensor_split(2))
    if small < _EVEN * large:
        return Relation(f"{times}differs by noise of about {100 * size / whole:.2g} % of each number")
    return Relation(f"{times}differs by noise of about {size:.2g} ({100 * size / whole:.2g} % of a typical number)")
