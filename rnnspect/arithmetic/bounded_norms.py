"""What layer norm, RMS norm and the larger of two values may err by, in any form in which engines compute them.

v is known to ± e, n units are normalised together, and an engine's m̃, s̃ and ỹ stand for m, s and y = (v − m) / s.
Taking off the mean makes no vector longer, so that what e does to s is at most r = √(mean e²). A sum of n numbers errs
by k u times the sum of their sizes with k = min(n + 1, λ√n), as for products (`product_bounds.py`). The variance may
come from two passes, from Welford's updates, or as mean v² − m². Chan, Golub & LeVeque (Algorithms for computing the
sample variance, The American Statistician 37, 1983) bound all three; charged is the last one, which loses most where
the mean is large: |ṽar − var| ≤ k u (mean v² + 2 |m| mean |v|) + 4 u mean v². Then

    |s̃ − s| ≤ r + |ṽar − var| / (least s̃ + s)
    |ỹ − y| ≤ (e + mean e + |m̃ − m| + 2 u (|v| + 2 |m|) + |y| |s̃ − s|) / least s̃ + 4 u |y|

where 2 u (|v| + 2 |m|) is also what v / s − m / s loses, where each of them is multiplied with a gain first.

Where results are stored in a half type, mean v² − m² is covered with sums in float32, as frameworks have them. With
each of its steps stored it is not: no digit of it is left where the mean is a few deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number, Operand
from rnnspect.arithmetic.norms import Norm, Norms, apart, beside, compared, in_one
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff

if TYPE_CHECKING:
    from rnnspect.cells.functions import Functions

_STEPS = 4
"""Roundings of one number on the way from v − m to y: the reciprocal root, by a kernel that is a unit or two off, the
product, and a gain that comes before it; and on the way from v − m to its square and the deviation."""


class _Moments:
    """y and s of v (…, units) ± e, and the bounds of an engine's y and s."""

    def __init__(self, v: Tensor, e: Tensor, eps: float, centred: bool, u: Roundoff, roundings: float) -> None:
        self.u, self.centred, self.sum = u, centred, roundings * u.sums + u.narrow
        m = _mean(v) if centred else torch.zeros((), dtype=v.dtype)
        d, r, size = v - m, _mean(e.square()).sqrt_(), _mean(v.abs() + e)
        self.s = (_mean(d.square()) + eps).sqrt_()
        self.y = d / self.s
        most = (self.s + r).square_()
        square = (_mean(v.square()).sqrt_() + r).square_()
        variance = square * (self.sum + 4 * u.sums) + most * ((_STEPS + 1) * u.stored) + 2 * u.tiny
        if centred:
            variance += size * (m.abs() + _mean(e)) * (2 * self.sum)
        least = (self.s - r).clamp_(min=math.sqrt(max(eps, 0)))  # a mistake may have ε below 0
        self.least = (least.square() - variance).clamp_(min=0).sqrt_()
        self.s_error = r + variance / (self.least + least)
        self.sizes = v.abs() + 2 * m.abs() if centred else v.abs()
        own = e + self.sizes * (2 * u.stored) + self.y.abs() * self.s_error
        if centred:
            own = own + _mean(e) + size * self.sum + m.abs() * u.stored
        self.y_error = own / self.least + self.y.abs() * (_STEPS * u.stored)
        self.y_error = self.y_error.nan_to_num_(torch.inf, posinf=torch.inf)


class BoundedNorms(Norms):
    """Norms over numbers with their bound."""

    u: Roundoff
    functions: Functions

    def roundings(self, terms: int) -> float:
        """The error of a sum of so many terms, in unit roundoffs of the sum of their sizes."""
        return min(terms + 1, LAMBDA * math.sqrt(terms))

    def normalised(self, blocks: Sequence[Operand], norm: Norm) -> tuple[Number, ...]:
        at = self._moments(blocks, norm)
        e = at.y_error + self.u.tiny
        e = self.u.store(at.y, e) if self.u.coarse else e
        return self._made(at.y, e, len(blocks))

    def through_norm(
        self, gradients: Sequence[Number | None], blocks: Sequence[Operand], made: Sequence[Number], norm: Norm
    ) -> tuple[Number, ...]:
        """As `PlainNorms` has it. An engine may also go by v in place of y, as torch's kernel does: dL/dv is
        (g + b v + c) / s, of which b and c were added up with v, so that sizes are those of v / s."""
        u, at, none = self.u, self._moments(blocks, norm), torch.zeros((), dtype=made[0].v.dtype)
        pairs = [(none, none) if one is None else (one.v, one.e) for one in gradients]
        v, g_error = (
            norm.by_head(beside([part.expand_as(y.v) for part, y in zip(parts, made, strict=True)]))
            for parts in zip(*pairs, strict=True)
        )
        y, size, g_size = at.y, at.sizes / at.s, v.abs()
        along, mean = _mean(v * y), _mean(v) if norm.centred else torch.zeros((), dtype=y.dtype)
        along_error = _mean(g_size * at.y_error + y.abs() * g_error + g_error * at.y_error)
        along_error += _mean(g_size * size) * (2 * at.sum + _STEPS * u.stored)
        error = g_error + y.abs() * along_error + at.y_error * (along.abs() + along_error)
        error = error + (g_size + mean.abs() + size * along.abs()) * (_STEPS * u.stored)
        if norm.centred:
            error = error + _mean(g_error) + _mean(g_size) * at.sum
        pulled = (v - mean - y * along) / at.s
        error = (error + pulled.abs() * at.s_error) / at.least + pulled.abs() * (_STEPS * u.stored) + 4 * u.tiny
        error = error.nan_to_num_(torch.inf, posinf=torch.inf)
        return self._made(pulled, u.store(pulled, error) if u.coarse else error, len(blocks))

    def maximum(self, v: Operand, w: Operand) -> Number:
        """The number that is certainly larger; else with the bounds of both."""
        above, reach = v.v - w.v, v.e + w.e
        e = torch.where(above > reach, v.e, torch.where(-above > reach, w.e, torch.maximum(v.e, w.e)))
        is_gate = all(isinstance(one, Number) and one.is_gate for one in (v, w))
        return Number(torch.maximum(v.v, w.v), e, self.u, is_gate=is_gate)

    def larger(self, v: Operand, w: Operand) -> Number:
        """As in `PlainNorms`; between 0 and 1 where either may be the larger one, or both are equal."""
        share, reach = compared(v.v, w.v), v.e + w.e
        e = torch.where((v.v - w.v).abs() <= reach, torch.maximum(share, 1 - share), 0)
        return Number(share, e, self.u, is_gate=True)

    def _moments(self, blocks: Sequence[Operand], norm: Norm) -> _Moments:
        v = norm.by_head(beside([block.v for block in blocks]))
        e = norm.by_head(beside([block.e.expand_as(block.v) for block in blocks]))
        roundings = self.roundings(v.shape[-1])
        return _Moments(v, e, self.functions.constant(norm.eps), norm.centred, self.u, roundings)

    def _made(self, v: Tensor, e: Tensor, count: int) -> tuple[Number, ...]:
        v, e = in_one(v), in_one(e)
        return tuple(Number(*each, self.u) for each in zip(apart(v, count), apart(e, count), strict=True))


def _mean(v: Tensor) -> Tensor:
    """(…, 1)"""
    return v.mean(-1, keepdim=True)
