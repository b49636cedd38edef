"""How far two tensors are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def differences(manual: Tensor, engine: Tensor) -> Tensor:
    """engine − manual in float64; zero where both are the same infinity or both NaN."""
    import torch

    apart = engine.double() - manual.double()
    if apart.isfinite().all():
        return apart
    same = (manual == engine) | (manual.isnan() & engine.isnan())
    return torch.where(same, 0, apart)


def max_abs_difference(manual: Tensor, engine: Tensor, rows: int = 1 << 12) -> float:
    """The largest |engine − manual|, taken `rows` at a time; NaN if a number stands beside a NaN."""
    starts = range(0, len(manual), rows)
    pieces = ((manual[at : at + rows], engine[at : at + rows]) for at in starts)
    return largest([differences(*piece).abs().max().item() for piece in pieces])


def largest(values: list[float]) -> float:
    """The largest, or NaN if one of them is."""
    return next((value for value in values if value != value), max(values, default=0.0))
