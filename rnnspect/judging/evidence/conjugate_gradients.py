"""Least squares with more parameters than a matrix of their products has room for.

The normal equations JᵀJ v = g need no more than what JᵀJ makes of a v: conjugate gradients (Hestenes & Stiefel, Journal
of Research of the National Bureau of Standards 49, 1952), preconditioned by P, which is about (JᵀJ)⁻¹. What they went
through tells, too, what the inverse is like (Paige & Saunders, ACM Transactions on Mathematical Software 8, 1982).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

_MOST = 300
_CONVERGED, _NEARLY_LINEAR = 1e-5, 1e-6
"""It is enough where what a further step would gain is such a share of what one number of h leaves; or where so small a
share of the squares is left that the equations are no longer linear."""


@dataclass(eq=False)
class Krylov:
    """The steps that were made: each with P times the gradient before it, and the squared length of that by P⁻¹."""

    vectors: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    by: list[float] = field(default_factory=list)

    def take(self, vector: Tensor, gradient: Tensor, size: float) -> None:
        self.vectors.append(vector)
        self.gradients.append(gradient)
        self.sizes.append(size)

    def apart(self, gradient: Tensor) -> Tensor:
        """The part of a gradient that is orthogonal to all earlier ones: rounding destroys their orthogonality."""
        along = torch.stack(self.vectors) @ gradient / torch.tensor(self.sizes, dtype=gradient.dtype)
        return gradient - along @ torch.stack(self.gradients)

    def correction(self) -> Tensor:
        """The diagonal of (JᵀJ)⁻¹ − P, as far as the steps went."""
        count = len(self.by)
        sizes, by = (torch.tensor(of[:count], dtype=torch.float64) for of in (self.sizes, self.by))
        ratios = sizes[1:] / sizes[:-1]
        diagonal = 1 / by
        diagonal[1:] += ratios / by[:-1]
        beside = -ratios.sqrt() / by[:-1]
        values, vectors = torch.linalg.eigh(torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1))
        ritz = vectors.t() @ (torch.stack(self.vectors[:count]) / sizes.sqrt()[:, None])
        found: Tensor = (1 / values.clamp(min=1e-11) - 1) @ ritz.square()
        return found


def solved(
    products: Callable[[Tensor], Tensor],
    about: Callable[[Tensor], Tensor],
    g: Tensor,
    damping: float,
    left: tuple[float, int],
) -> tuple[Tensor, Krylov]:
    """v of (JᵀJ + damping · P⁻¹) v = g, and the way there. `left` are Σ squares before, and how many there are of."""
    v, krylov = torch.zeros_like(g), Krylov()
    squares, count = left
    gradient, by_p = g, about(g)
    along, by_inverse, size = by_p, g, float(g @ by_p)
    for _ in range(_MOST):
        if size <= _CONVERGED * squares / count or squares <= _NEARLY_LINEAR * left[0]:
            break
        krylov.take(by_p, gradient, size)
        image = products(along) + damping * by_inverse
        by = size / float(along @ image)
        krylov.by.append(by)
        v = v + by * along
        squares -= by * size
        gradient = krylov.apart(gradient - by * image)
        by_p = about(gradient)
        before, size = size, float(gradient @ by_p)
        along, by_inverse = by_p + size / before * along, gradient + size / before * by_inverse
    return v, krylov
