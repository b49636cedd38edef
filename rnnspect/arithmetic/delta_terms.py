"""What was written into the matrices of a delta rule, term by term, where an engine may compute many steps at once.

A chunk has each of the terms β k (v − k·s), decayed, where single steps have their sum, and rounds each of them. Each
is made of three: β k v, β k times the matrix that the chunk begins with, and what of the steps before it cancels. With
logarithms a term's decay is exp of a difference x of two sums, and is off by u x besides. Terms far back are small, so
that little of it is left: (3 + x) e^−x ≤ 3 e^(−x/2). What the sums themselves are off by moves all terms alike, and is
charged to the decays (`delta_rule.py`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import Roundoff

_GROUPED = 3.0
"""The error of each of a chunk's terms, as a standard deviation in unit roundoffs. (q kᵀ ⊙ D) T β v rounds it nine
times: D, q k, β v, T, the products of each two, and each sum."""


class Written(NamedTuple):
    """What was written into matrices, decayed, with errors of unit size: Σ w² k kᵀ of each column, (…, heads, values,
    keys, keys), or its trace (…, heads, values); the largest that each number was, (…, heads, keys, values); and the
    logarithms of the decays that may be added up, (…, heads, 1 or keys, steps), or their sum as that of one step."""

    squares: Tensor
    largest: Tensor
    logs: Tensor

    @classmethod
    def begin(cls, s: Tensor, u: Roundoff, with_covariance: bool) -> Written:
        """Before anything is written, for matrices s (…, heads, keys, values)."""
        (*lead, keys, values) = s.shape
        steps = int(u.logs) if 0 < u.logs < math.inf else 1
        squares = s.new_zeros(*lead, values, *((keys, keys) if with_covariance else ()))
        return cls(squares, s.abs(), s.new_zeros(*lead, 1, steps))

    @property
    def far(self) -> Tensor:
        """The largest possible sum of logarithms so far, (…, heads, 1 or keys)."""
        return self.logs.sum(-1).abs()

    @property
    def _is_trace(self) -> bool:
        return self.squares.dim() < self.largest.dim()

    def variance(self, q: Tensor, u: Roundoff) -> Tensor:
        """The variance of a sum q·s over all that was written, (…, heads, values)."""
        if self._is_trace:
            squares = self.squares * q.square().sum(-1, keepdim=True)
        else:
            squares = ((self.squares @ q[..., None, :, None])[..., 0] * q[..., None, :]).sum(-1).clamp(min=0)
        return (squares + along_keys(self.largest.square(), q.square())) * (_GROUPED * u.regrouped) ** 2

    def each(self, u: Roundoff) -> Tensor:
        """The standard deviation of each number, (…, heads, keys, values)."""
        if self._is_trace:
            squares = self.squares[..., None, :]
        else:
            squares = self.squares.diagonal(dim1=-2, dim2=-1).transpose(-2, -1).clamp(min=0)
        return (squares + self.largest.square()).sqrt() * (_GROUPED * u.regrouped)

    def decayed(self, f: Tensor, u: Roundoff) -> Written:
        """The same after a step's decay f (…, heads, 1 or keys)."""
        factor = f.abs()
        largest, logs = self.largest * factor[..., None], self.logs
        if u.logs:
            log = factor.clamp(min=torch.finfo(factor.dtype).tiny).log()[..., None]
            logs = logs.expand(*log.shape[:-1], -1)
            logs = logs + log if u.logs == math.inf else torch.cat([logs[..., 1:], log], -1)
            factor = torch.maximum(factor, factor.sqrt())
        if self._is_trace:
            squares = self.squares * factor.amax(-1, keepdim=True).square()
        else:
            squares = self.squares * (factor[..., None, :, None] * factor[..., None, None, :])
        return Written(squares, largest, logs)

    def with_written(self, b: Tensor, k: Tensor, v: Tensor, wrong: Tensor, made: Tensor) -> Written:
        """With what a step writes: β (v − k·s), which chunks make of β v and of β k·s of the matrices they begin with;
        and with what that step makes of what was written before, as the inverse in a chunk has it."""
        parts = (wrong.square() + v.square() + along_keys(self.largest.square(), k.square())) * b.square()
        if self._is_trace:
            size = k.square().sum(-1, keepdim=True)
            squares = self.squares * (1 - b * size).square().clamp(min=1) + parts * size
        else:
            squares = through_a_step(self.squares, b, k, parts, torch.zeros_like(made))
        largest = torch.maximum(self.largest, made.abs())
        return Written(squares, largest, self.logs + torch.zeros_like(b)[..., None])


def along_keys(s: Tensor, q: Tensor) -> Tensor:
    """Σ over keys of q ⊙ s: (…, heads, values)."""
    product: Tensor = q[..., None, :] @ s
    return product[..., 0, :]


def through_a_step(p: Tensor, b: Tensor, k: Tensor, along: Tensor, each: Tensor) -> Tensor:
    """(I − β k kᵀ) P (I − β k kᵀ) + along k kᵀ + diag(each), of each column."""
    row = k[..., None, :]
    w = (p @ row[..., None])[..., 0]
    share = b[..., None]
    shift = (w * row).sum(-1, keepdim=True) * share.square() + along[..., None]
    z = w * share - shift * row / 2
    made = p - z[..., :, None] * row[..., None, :] - row[..., :, None] * z[..., None, :]
    made.diagonal(dim1=-2, dim2=-1).add_(each.transpose(-2, -1))
    return made
