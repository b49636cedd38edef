"""How an engine rounds: unit roundoffs of what it sums, multiplies and stores.

The unit roundoff u of a format with p bits of precision is 2^−p: fl(x ∘ y) = (x ∘ y)(1 + δ), |δ| ≤ u, where nothing
over- or underflows (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §2.2). In this package u is that, or
the `Roundoff` that has one for each kind of operation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Roundoff:
    """The arithmetic that an engine declares. Unit roundoffs are relative; `tiny`, `flushed` and `absolute` are not."""

    sums: float
    """Unit roundoff of accumulation."""
    stored: float
    """Unit roundoff of what is stored between operations."""
    tiny: float
    """The largest error of a stored number by underflow."""
    largest: float = math.inf
    """The largest number that can be stored, where that is less than the largest sum."""
    products: float = 0.0
    """Unit roundoff of a product's two operands, where they are rounded for it (TF32)."""
    flushed: float = 0.0
    """The largest error of such an operand by underflow."""
    narrow: float = 0.0
    """The error of a sum, per ‖w‖‖x‖, where its parts are kept in a half type."""
    relative: float = 0.0
    """The relative precision with which h was recorded, beyond the engine's own storage; it counts for h of the step
    before, too."""
    absolute: float = 0.0
    readable: float = math.inf
    """Larger numbers of h may have become infinite in the recording."""
    regrouped: float = 0.0
    """Unit roundoff of what is kept between steps where a linear recurrence may be computed many steps at a time, in
    any grouping; 0 where each step is computed from the one before (`forms.py`)."""
    logs: float = 0.0
    """Over how many steps at most the logarithms of decays are then added up; 0 where they are not."""

    def store(self, v: Tensor, e: Tensor) -> Tensor:
        """Adds the rounding of v to its bound e, in place; infinite where storage overflows. Returns e."""
        e.add_(v.abs(), alpha=self.stored)
        if self.coarse:
            e.add_(self.tiny)
        if self.largest < math.inf:
            e.masked_fill_(v.abs() + e > self.largest, math.inf)
        return e

    def times(self, factor: float) -> Roundoff:
        """Every rounding of what is computed so many times as large. How h was recorded stays as it is."""
        of_computing = "sums", "stored", "tiny", "products", "flushed", "narrow"
        return replace(self, **{name: factor * getattr(self, name) for name in of_computing})

    @property
    def coarse(self) -> bool:
        """Whether storing errs by more than summing, so that it has to be added value by value."""
        return self.stored > 2 * self.sums

    @property
    def of_seen(self) -> float:
        """How far, relative, a gradient that an engine shows may be from the one that it multiplies: it may round it
        for the product, or continue with more digits than it shows."""
        return max(self.products, self.relative)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is coarser than the sums: neither storage, nor products, nor the recording of h."""
        other = self.coarse or self.products or self.narrow or self.relative or self.absolute
        return not (other or self.regrouped)


TF32, BFLOAT16, FLOAT16 = 2.0**-10, 2.0**-7, 2.0**-10
"""Unit roundoffs of a product's operands, which keep ten, seven and ten bits of their fraction; hardware may cut off
the rest."""
SMALLEST = 2.0**-24
"""The smallest number of float16."""

SINGLE = Roundoff(2.0**-24, 2.0**-24, 2.0**-126)
ROUNDOFF = {
    torch.float64: Roundoff(2.0**-53, 2.0**-53, 2.0**-1022),
    torch.float32: SINGLE,
    torch.float16: Roundoff(2.0**-24, 2.0**-11, 2.0**-24, 65504.0),
    torch.bfloat16: Roundoff(2.0**-24, 2.0**-8, 2.0**-126),
}
