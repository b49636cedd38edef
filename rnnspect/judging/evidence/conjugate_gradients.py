"""Least squares with so many parameters that the matrix of the normal equations does not fit in memory.

The normal equations JᵀJ v = g are solved by conjugate gradients (Hestenes & Stiefel, Journal of Research of the
National Bureau of Standards 49, 1952), which only need products of JᵀJ with vectors, preconditioned by P, which is
about (JᵀJ)⁻¹. Their steps also give an estimate of the inverse (Paige & Saunders, ACM Transactions on Mathematical
Software 8, 1982).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

_MOST = 300
_CONVERGED, _NEARLY_LINEAR = 1e-5, 1e-6
"""The iteration ends where the next step would gain less than the first share of the residual of one number of h; or
where only the second share of the squares is left, as the equations are linear only to about that."""


@dataclass(eq=False)
class Krylov:
    """The steps that were made: for each P times the gradient before it, and the squared length of that by P⁻¹."""

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
        """The diagonal of (JᵀJ)⁻¹ − P, as far as the steps tell it."""
        if not self.by:
            return torch.zeros((), dtype=torch.float64)
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
    """The v with (JᵀJ + damping · P⁻¹) v = g, and the steps that led to it. `left` is Σ squares before, and the number
    of squares."""
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
