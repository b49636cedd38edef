"""States of which several numbers are moved together: how far those of the delta rule f ⊙ S + β k (v − (f ⊙ S)ᵀ k)ᵀ and
of complex decays may be off after many steps.

Number by number an error of S would explode: |S| |k| |kᵀ| has none of what cancels in S − β k (kᵀ S). Two bounds are
carried instead, for each column s of S by itself, through A = (I − β k kᵀ) diag(f):

- the length of its error, which no rounding exceeds: ‖A‖₂ is 1 at most for 0 ≤ β‖k‖² ≤ 2 and f ≤ 1;
- the covariance P of its error, where roundings are taken as independent: A P Aᵀ, and what the step's own roundings
  add, each with u as its standard deviation. A number q·s is then off by λ√(qᵀ P q) at most.

That is a probability. A rounding is anywhere in ± u alike, so that its standard deviation is u / √3; a sum of such is
off by more than λ of its own with a probability below 2 exp(−λ²/2), which is 7e-4 (Hoeffding; a uniform number is
sub-Gaussian by its own variance). What is above that gets a second look, by lengths. The numbers of the matrices
themselves, of which there is no second look, have λ√3: 8e-11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.delta_terms import Written, along_keys, through_a_step
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff

_EVEN = 1 / 3
"""The variance of a rounding that is uniform in ± u, in u²."""
_ENDS = LAMBDA * math.sqrt(2)
"""A decay from one step to the next is exp of a difference of two sums of logarithms, each rounded by itself, with a
standard deviation of √2 u. A sum that is continued step by step has one rounding."""
_MOST = 2**24
"""If the covariances of a step have more numbers than this, only the lengths are carried."""


@dataclass(frozen=True, eq=False)
class MatrixErrors:
    """The errors of the columns of a cell state's matrices: (…, batch, heads, values) their lengths, and their
    covariances (…, batch, heads, values, keys, keys), where these are carried."""

    lengths: Tensor
    covariance: Tensor | None
    written: Written | None = None
    """What was written into them, where an engine may compute many steps at once."""

    def each(self, change: Callable[[Tensor], Tensor]) -> MatrixErrors:
        """All fields changed in the same way: the last step alone, or some items."""
        return self._joined([self], lambda of: change(of[0]))

    def times(self, factor: float, dtype: torch.dtype) -> MatrixErrors:
        made = self.each(lambda of: of.to(dtype))
        covariance = None if made.covariance is None else made.covariance * factor**2
        return replace(made, lengths=made.lengths * factor, covariance=covariance)

    def kept_where(self, over: Tensor, before: MatrixErrors | None) -> MatrixErrors:
        """The errors before the step, or zero with None, for the items (batch) that ended before it."""

        def chosen(of: list[Tensor]) -> Tensor:
            now, then = of
            return torch.where(over.view(-1, *[1] * (now.dim() - 1)), then, now)

        return self._joined([self, before or self.each(torch.zeros_like)], chosen)

    @classmethod
    def side_by_side(cls, parts: Sequence[MatrixErrors]) -> MatrixErrors | None:
        return cls._joined(parts, torch.cat) if parts else None

    @classmethod
    def _joined(cls, parts: Sequence[MatrixErrors], how: Callable[[list[Tensor]], Tensor]) -> MatrixErrors:
        """The fields of several joined; a field that some of them lack is None."""
        covariances = [part.covariance for part in parts if part.covariance is not None]
        written = [part.written for part in parts if part.written is not None]
        return cls(
            how([part.lengths for part in parts]),
            how(covariances) if len(covariances) == len(parts) else None,
            Written(*(how(list(of)) for of in zip(*written, strict=True))) if len(written) == len(parts) else None,
        )


@dataclass(frozen=True, eq=False)
class Off:
    """A value and its error, by head: (…, heads, ·)."""

    v: Tensor
    e: Tensor

    @property
    def variance(self) -> Tensor:
        """The variance of its error as a random number, whose bound is λ standard deviations."""
        return (self.e / LAMBDA).square()


def of_a_sum(s: Tensor, q: Tensor, u: Roundoff) -> Tensor:
    """The variance of the error of adding up q·s for each column s, for matrices s (…, heads, keys, values) and q (…,
    heads, keys): (…, heads, values). In a random order of the terms t the partial sums have a mean square of (Σt)² / 3
    + Σt² / 6."""
    squares = along_keys(s.square(), q.square())
    total, keys = along_keys(s, q).square(), q.shape[-1]
    found = (squares + (total + squares / 2) * (keys / 3)) * u.sums**2 + (keys * u.tiny) ** 2
    if u.products:  # of each operand, or of all in one direction
        found = found + squares * (2 * u.products**2) + total * (2 * u.products / LAMBDA) ** 2
    if u.narrow:
        found = found + s.square().sum(-2) * q.square().sum(-1, keepdim=True) * (u.narrow / LAMBDA) ** 2
    return found


def at_most(s: Tensor, q: Tensor, u: Roundoff) -> Tensor:
    """The largest error of adding up q·s for each column, in any order."""
    sizes = along_keys(s.abs(), q.abs())
    return sizes * (q.shape[-1] * u.sums + 2 * u.products + u.narrow) + q.shape[-1] * u.tiny


def delta_rule(
    s: Off, before: MatrixErrors | None, f: Off | None, written: tuple[Off, Off, Off], u: Roundoff
) -> tuple[Tensor, MatrixErrors]:
    """The new matrices (…, heads, keys, values) of s (…, heads, keys, values), and how far they may be off. f is
    (…, heads, 1) or (…, heads, keys). What is `written` is β (…, heads, 1), k (…, heads, keys) and v
    (…, heads, values)."""
    b, k, v = written
    errors = before or _exact(s, u)
    old = errors.written
    if f is not None and old is not None:
        old = old.decayed(f.v, u)
        f = f if not u.logs else Off(f.v, f.e + f.v.abs() * old.far * (_ENDS * u.sums))
    kept, errors = (s.v, errors) if f is None else _decayed(s.v, errors, f, u)
    read = along_keys(kept, k.v)
    wrong = v.v - read
    made = kept + (b.v * k.v)[..., None] * wrong[..., None, :]
    size, stored = wrong.abs(), (read.abs() + 2 * wrong.abs()) * u.stored
    # At most: A takes the error along, and what the step adds.
    most, k_off = (k.v.abs() + k.e).norm(dim=-1, keepdim=True), k.e.norm(dim=-1, keepdim=True)
    share, least = b.v.abs() + b.e, (b.v - b.e).clamp(max=0)
    through = torch.maximum(1 - least * most.square(), share * most.square() - 1).clamp(min=1)
    off = at_most(kept, k.v.abs() + k.e, u) + v.e + stored + kept.norm(dim=-2) * k_off
    gone = b.e * most + share * k_off + share * most * (2 * u.stored)
    lengths = errors.lengths * through + share * most * off + gone * size + made.norm(dim=-2) * u.stored
    lengths = lengths + math.sqrt(k.v.shape[-1]) * 2 * u.tiny
    regrouped = new = None
    if old is not None:
        regrouped = old.variance(k.v, u)
        lengths = lengths + share * most * regrouped.sqrt() * LAMBDA
        new = old.with_written(b.v, k.v, v.v, wrong, made)
    if errors.covariance is None:
        return made, MatrixErrors(lengths, None, new)
    along = of_a_sum(kept, k.v, u) + v.variance + stored.square() + along_keys(kept.square(), k.variance)
    along = (along if regrouped is None else along + regrouped) * b.v.square() + wrong.square() * b.variance
    each = made.square() * u.stored**2
    each = each + (
        (b.v.square() * (k.variance + k.v.square() * (2 * u.stored) ** 2))[..., None] * wrong.square()[..., None, :]
    )
    return made, MatrixErrors(lengths, through_a_step(errors.covariance, b.v, k.v, along, each), new)


def _decayed(s: Tensor, errors: MatrixErrors, f: Off, u: Roundoff) -> tuple[Tensor, MatrixErrors]:
    """f ⊙ S, where f has a number for each head or for each row."""
    made = f.v[..., None] * s
    largest = (f.v.abs() + f.e).amax(-1, keepdim=True)
    own = (s * f.e[..., None]).norm(dim=-2) + made.norm(dim=-2) * u.stored + math.sqrt(s.shape[-2]) * u.tiny
    lengths = errors.lengths * largest + own
    if errors.covariance is None:
        return made, MatrixErrors(lengths, None)
    factor = f.v[..., None, :]
    covariance = errors.covariance * (factor[..., :, None] * factor[..., None, :])
    each = made.square() * u.stored**2
    if f.v.shape[-1] > 1:
        each = each + s.square() * f.variance[..., None]
    else:  # one number moves the whole column
        columns = s.transpose(-2, -1)
        covariance = covariance + columns[..., :, None] * columns[..., None, :] * f.variance[..., None, None]
    covariance.diagonal(dim1=-2, dim2=-1).add_(each.transpose(-2, -1))
    return made, MatrixErrors(lengths, covariance)


def _exact(s: Off, u: Roundoff) -> MatrixErrors:
    """The errors of matrices for which the bound of each number is known."""
    (*lead, keys, values) = s.v.shape
    fits = s.v.numel() * keys <= _MOST
    covariance = s.v.new_zeros(*lead, values, keys, keys) if fits else None
    if covariance is not None:
        covariance.diagonal(dim1=-2, dim2=-1).copy_(s.e.square().transpose(-2, -1))
    written = Written.begin(s.v, u, fits) if u.regrouped else None
    return MatrixErrors(s.e.norm(dim=-2), covariance, written)


def read_by(s: Off, errors: MatrixErrors, q: Off, u: Roundoff, surely: bool) -> Tensor:
    """The error of q·s, (…, heads, values): the largest possible one (`surely`), or that of independent roundings."""
    size = (q.v.abs() + q.e).norm(dim=-1, keepdim=True)
    most: Tensor = errors.lengths * size + along_keys(s.v.abs(), q.e) + at_most(s.v, q.v, u)
    regrouped = None if errors.written is None else errors.written.variance(q.v, u)
    if regrouped is not None:
        most = most + regrouped.sqrt() * LAMBDA
    if surely or errors.covariance is None:
        return most
    row = q.v[..., None, :]
    through = ((errors.covariance @ row[..., None])[..., 0] * row).sum(-1).clamp(min=0)
    variance = through + along_keys(s.v.square(), q.variance) + of_a_sum(s.v, q.v, u)
    variance = variance if regrouped is None else variance + regrouped
    return torch.minimum(most, (variance * _EVEN).sqrt() * LAMBDA)


def number_by_number(s: Tensor, errors: MatrixErrors, u: Roundoff) -> Tensor:
    """The error of each number of s, (…, heads, keys, values)."""
    most = errors.lengths[..., None, :]
    if errors.covariance is None:
        return most.expand_as(s)
    each: Tensor = errors.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().mul(LAMBDA)
    each = torch.minimum(each.transpose(-2, -1), most)
    if (written := errors.written) is None:
        return each
    each = each + written.each(u) * LAMBDA
    if u.logs:  # the decays to the end of a chunk, of a sum that is made anew
        each = each + s.abs() * (written.far * (_ENDS * u.sums))[..., None]
    return each


def turned(p: Off, q: Off, c: Off, before: MatrixErrors | None, v: Off, u: Roundoff) -> tuple[Tensor, MatrixErrors]:
    """(p + i q) c + v for complex c (…, 2, units), and how far it may be off: |p + i q| takes the length of an error
    along, where |p| + |q| would be up to √2 times as much at each step. p and q are (…, 1, units)."""
    re, im = c.v[..., :1, :], c.v[..., 1:, :]
    made = torch.cat([p.v * re - q.v * im, q.v * re + p.v * im], -2) + v.v
    size, off = (torch.hypot(*pair) for pair in ((p.v.abs() + p.e, q.v.abs() + q.e), (p.e, q.e)))
    lengths = c.e.norm(dim=-2, keepdim=True) if before is None else before.lengths
    added = v.e.norm(dim=-2, keepdim=True) + made.norm(dim=-2, keepdim=True) * u.stored + 8 * u.tiny
    lengths = lengths * size + (off + size * (4 * u.stored)) * c.v.norm(dim=-2, keepdim=True) + added
    return made, MatrixErrors(lengths, None)
