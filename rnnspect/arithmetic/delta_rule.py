"""States of which several numbers are moved together: how far those of the delta rule f ⊙ S + β k (v − (f ⊙ S)ᵀ k)ᵀ and
of complex decays may be off after many steps.

Number by number an error of S would explode: |S| |k| |kᵀ| has none of what cancels in S − β k (kᵀ S). Two bounds are
carried instead, for each column s of S by itself, through A = (I − β k kᵀ) diag(f):

- the length of its error, which no rounding exceeds: ‖A‖₂ is 1 at most for 0 ≤ β‖k‖² ≤ 2 and f ≤ 1;
- the covariance P of its error, where roundings are taken as independent: A P Aᵀ, and what the step's own roundings
  add. A number q·s is then off by λ√(qᵀ P q) at most. That is a probability, as in `product_bounds`; the second look
  takes the first bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff

_GROUPED = 2.0
"""Roundings of each of the terms that a chunk has where single steps have their sum."""
_MOST = 2**24
"""Numbers in the covariances of a step: of larger ones only the lengths are carried."""


@dataclass(frozen=True, eq=False)
class MatrixErrors:
    """How far the columns of a cell state's matrices may be off: (…, batch, heads, values) their lengths, and their
    covariances (…, batch, heads, values, keys, keys), where these are carried."""

    lengths: Tensor
    covariance: Tensor | None
    written: Written | None = None
    """What was written into them, where an engine may compute many steps at once."""

    def each(self, change: Callable[[Tensor], Tensor]) -> MatrixErrors:
        """All changed in the same way: the last step alone, or some items."""
        return self._joined([self], lambda of: change(of[0]))

    def times(self, factor: float, dtype: torch.dtype) -> MatrixErrors:
        made = self.each(lambda of: of.to(dtype))
        covariance = None if made.covariance is None else made.covariance * factor**2
        return replace(made, lengths=made.lengths * factor, covariance=covariance)

    def kept_where(self, over: Tensor, before: MatrixErrors | None) -> MatrixErrors:
        """Those before, zero with None, for the items (batch) that were over before the step."""

        def chosen(of: list[Tensor]) -> Tensor:
            now, then = of
            return torch.where(over.view(-1, *[1] * (now.dim() - 1)), then, now)

        return self._joined([self, before or self.each(torch.zeros_like)], chosen)

    @classmethod
    def side_by_side(cls, parts: Sequence[MatrixErrors]) -> MatrixErrors | None:
        return cls._joined(parts, torch.cat) if parts else None

    @classmethod
    def _joined(cls, parts: Sequence[MatrixErrors], how: Callable[[list[Tensor]], Tensor]) -> MatrixErrors:
        """Each field made of those of several; of one that not all have, there is none."""
        covariances = [part.covariance for part in parts if part.covariance is not None]
        written = [part.written for part in parts if part.written is not None]
        return cls(
            how([part.lengths for part in parts]),
            how(covariances) if len(covariances) == len(parts) else None,
            Written(*(how(list(of)) for of in zip(*written, strict=True))) if len(written) == len(parts) else None,
        )


class Written(NamedTuple):
    """What was written into matrices, decayed: Σ w² k kᵀ of each column, (…, heads, values, keys, keys), or its trace
    (…, heads, values); the largest length that a column had, (…, heads, values); the sum of the logarithms of decays,
    (…, heads, 1) or (…, heads, keys)."""

    squares: Tensor
    longest: Tensor
    log: Tensor

    def unit(self, u: Roundoff) -> Tensor:
        """What each of the terms may be off by, relative to it, as a standard deviation: (…, heads, 1)."""
        far = self.log.abs().amax(-1, keepdim=True)  # of a sum of logarithms, which is made more than once
        return far * u.sums + _GROUPED * u.regrouped

    def variance(self, q: Tensor, u: Roundoff) -> Tensor:
        """Of a sum q·s that is made of all that was written, (…, heads, values)."""
        size = q.square().sum(-1, keepdim=True)
        if self.squares.dim() == self.longest.dim():
            squares = self.squares * size
        else:
            squares = ((self.squares @ q[..., None, :, None])[..., 0] * q[..., None, :]).sum(-1).clamp(min=0)
        return (squares + self.longest.square() * size) * self.unit(u).square()

    def with_written(self, b: Tensor, k: Tensor, v: Tensor, wrong: Tensor, made: Tensor) -> Written:
        """With what a step writes: β (v − k·s), which chunks make of β v and of β k·s of the matrices they begin with;
        and with what that step makes of what was written before, as the inverse in a chunk has it."""
        size = k.square().sum(-1, keepdim=True)
        parts = (wrong.square() + v.square() + size * self.longest.square()) * b.square()
        if self.squares.dim() == self.longest.dim():
            squares = self.squares * (1 - b * size).square().clamp(min=1) + parts * size
        else:
            squares = _through(self.squares, b, k, parts, torch.zeros_like(made))
        longest = torch.maximum(self.longest, made.norm(dim=-2))
        return Written(squares, longest, self.log + torch.zeros_like(size))


@dataclass(frozen=True, eq=False)
class Off:
    """A value and how far it may be off, by head: (…, heads, ·)."""

    v: Tensor
    e: Tensor

    @property
    def variance(self) -> Tensor:
        """Of its error, taken as random: its bound counts as λ times as much as it is usually off."""
        return (self.e / LAMBDA).square()


def of_a_sum(s: Tensor, q: Tensor, u: Roundoff) -> Tensor:
    """The variance of what adding up each q·s errs by, of matrices s (…, heads, keys, values) and q (…, heads, keys):
    (…, heads, values). In an order that knows nothing of the terms t the partial sums have a mean square of
    (Σt)² / 3 + Σt² / 6."""
    squares = _along_keys(s.square(), q.square())
    total, keys = _along_keys(s, q).square(), q.shape[-1]
    found = (squares + (total + squares / 2) * (keys / 3)) * u.sums**2 + (keys * u.tiny) ** 2
    if u.products:  # of each operand, or of all in one direction
        found = found + squares * (2 * u.products**2) + total * (2 * u.products / LAMBDA) ** 2
    if u.narrow:
        found = found + s.square().sum(-2) * q.square().sum(-1, keepdim=True) * (u.narrow / LAMBDA) ** 2
    return found


def at_most(s: Tensor, q: Tensor, u: Roundoff) -> Tensor:
    """What adding up each q·s errs by at most, in any order."""
    sizes = _along_keys(s.abs(), q.abs())
    return sizes * (q.shape[-1] * u.sums + 2 * u.products + u.narrow) + q.shape[-1] * u.tiny


def delta_rule(
    s: Off, before: MatrixErrors | None, f: Off | None, written: tuple[Off, Off, Off], u: Roundoff
) -> tuple[Tensor, MatrixErrors]:
    """The new matrices (…, heads, keys, values) of s (…, heads, keys, values), and how far they may be off. f is
    (…, heads, 1) or (…, heads, keys). What is `written` is β (…, heads, 1), k (…, heads, keys) and v
    (…, heads, values)."""
    b, k, v = written
    errors = before or _exact(s, u)
    old = None if errors.written is None else _decayed_terms(errors.written, f, u)
    if f is not None and old is not None and u.logs:
        f = Off(f.v, f.e + f.v.abs() * old.log.abs() * (2 * u.sums))
    kept, errors = (s.v, errors) if f is None else _decayed(s.v, errors, f, u)
    read = _along_keys(kept, k.v)
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
    along = of_a_sum(kept, k.v, u) + v.variance + stored.square() + _along_keys(kept.square(), k.variance)
    along = (along if regrouped is None else along + regrouped) * b.v.square() + wrong.square() * b.variance
    each = made.square() * u.stored**2
    each = each + (
        (b.v.square() * (k.variance + k.v.square() * (2 * u.stored) ** 2))[..., None] * wrong.square()[..., None, :]
    )
    return made, MatrixErrors(lengths, _through(errors.covariance, b.v, k.v, along, each), new)


def _through(p: Tensor, b: Tensor, k: Tensor, along: Tensor, each: Tensor) -> Tensor:
    """(I − β k kᵀ) P (I − β k kᵀ) + along k kᵀ + diag(each), of each column."""
    row = k[..., None, :]
    w = (p @ row[..., None])[..., 0]
    share = b[..., None]
    shift = (w * row).sum(-1, keepdim=True) * share.square() + along[..., None]
    z = w * share - shift * row / 2
    made = p - z[..., :, None] * row[..., None, :] - row[..., :, None] * z[..., None, :]
    made.diagonal(dim1=-2, dim2=-1).add_(each.transpose(-2, -1))
    return made


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
    """The errors of matrices of which the bound of each number is known."""
    (*lead, keys, values) = s.v.shape
    fits = s.v.numel() * keys <= _MOST
    covariance = s.v.new_zeros(*lead, values, keys, keys) if fits else None
    if covariance is not None:
        covariance.diagonal(dim1=-2, dim2=-1).copy_(s.e.square().transpose(-2, -1))
    longest = s.v.norm(dim=-2)
    none = torch.zeros_like(longest) if covariance is None else torch.zeros_like(covariance)
    written = Written(none, longest, s.v.new_zeros(*lead, 1)) if u.regrouped else None
    return MatrixErrors(s.e.norm(dim=-2), covariance, written)


def _decayed_terms(old: Written, f: Off | None, u: Roundoff) -> Written:
    """What was written before, f ⊙."""
    if f is None:
        return old
    factor = f.v.abs()
    largest = factor.amax(-1, keepdim=True)
    if old.squares.dim() > old.longest.dim():
        squares = old.squares * (factor[..., None, :, None] * factor[..., None, None, :])
    else:
        squares = old.squares * largest.square()
    log = old.log + factor.clamp(min=torch.finfo(factor.dtype).tiny).log() if u.logs else old.log
    return Written(squares, old.longest * largest, log)


def _along_keys(s: Tensor, q: Tensor) -> Tensor:
    """Σ over keys of q ⊙ s: (…, heads, values)."""
    product: Tensor = q[..., None, :] @ s
    return product[..., 0, :]


def read_by(s: Off, errors: MatrixErrors, q: Off, u: Roundoff, surely: bool) -> Tensor:
    """How far q·s may be off, (…, heads, values): at most (`surely`), or as roundings that are independent may."""
    size = (q.v.abs() + q.e).norm(dim=-1, keepdim=True)
    most: Tensor = errors.lengths * size + _along_keys(s.v.abs(), q.e) + at_most(s.v, q.v, u)
    regrouped = None if errors.written is None else errors.written.variance(q.v, u)
    if regrouped is not None:
        most = most + regrouped.sqrt() * LAMBDA
    if surely or errors.covariance is None:
        return most
    row = q.v[..., None, :]
    through = ((errors.covariance @ row[..., None])[..., 0] * row).sum(-1).clamp(min=0)
    variance = through + _along_keys(s.v.square(), q.variance) + of_a_sum(s.v, q.v, u)
    variance = variance if regrouped is None else variance + regrouped
    return torch.minimum(most, variance.sqrt() * LAMBDA)


def number_by_number(s: Tensor, errors: MatrixErrors, u: Roundoff) -> Tensor:
    """How far each number of s may be off, (…, heads, keys, values)."""
    most = errors.lengths[..., None, :]
    if errors.covariance is None:
        return most.expand_as(s)
    each: Tensor = errors.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().mul(LAMBDA)
    each = torch.minimum(each.transpose(-2, -1), most)
    if errors.written is None:
        return each
    terms = errors.written.squares.diagonal(dim1=-2, dim2=-1).transpose(-2, -1) + s.square()
    return each + terms.clamp(min=0).sqrt() * (errors.written.unit(u)[..., None] * LAMBDA)


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
