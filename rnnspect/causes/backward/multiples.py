"""Measures by what factor one array is in another, and how precisely that is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

_DIGITS = 3
"""A factor that people write has at most so many digits."""
MANY = 16
"""So many numbers show by how much they scatter how precisely a factor is known. Of fewer only their bounds tell."""


@dataclass(frozen=True)
class Multiple:
    """A factor found by least squares."""

    factor: float
    error: float
    """How far off the factor may be."""
    left: float
    """The norm of what is no multiple, each number in units of what it may be off."""

    def over(self, divisor: float) -> Multiple:
        """The factor before it was multiplied with `divisor`."""
        return replace(self, factor=self.factor / divisor, error=self.error / abs(divisor))

    def written(self) -> float | None:
        """The shortest number near the factor; None where it would need too many digits, or may be zero."""
        every = (float(f"{self.factor:.{digits}g}") for digits in range(1, _DIGITS + 1))
        found = next((one for one in every if abs(one - self.factor) <= 2 * self.error), 0.0)
        return found if abs(found) > 2 * self.error else None


def multiple_of(w: Tensor, off: Tensor, allowed: Tensor) -> Multiple | None:
    """By what factor `w` is in `off`, whose numbers may be off by `allowed`; None where `w` is zero, or `off` is not
    finite."""
    of, there = w / allowed, off / allowed
    square = float(of @ of)
    if not square or not bool(there.isfinite().all()):
        return None
    factor = float(there @ of) / square
    left, most = float((there - factor * of).norm()), len(w) ** 0.5
    return Multiple(factor, (left if len(w) >= MANY else most) / square**0.5, left)


def allowed_of(bound: Tensor, own: Tensor, given: Tensor, unit: float) -> Tensor:
    """How far off gradients that were given may be: the bound of each, and the rounding of the largest."""
    largest = max(float(own.abs().max()), float(given.abs().nan_to_num(0, 0, 0).max()))
    return bound + (unit * largest or torch.finfo(bound.dtype).tiny)
