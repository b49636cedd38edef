"""Matrices in the cell state, with their bounds.

A sum over keys or values is bounded as a product W x is (`product_bounds.py`); of the delta rule's matrices the errors
of each column are carried together (`delta_rule.py`).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number, Operand, stored
from rnnspect.arithmetic.delta_rule import Off, delta_rule, number_by_number, read_by, turned
from rnnspect.arithmetic.forms import TermSums, regrouped
from rnnspect.arithmetic.matrices import along_keys, along_values, by_head, by_key, by_value, flat, matrix
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff


class BoundedMatrices:
    """What `Bounded` has for matrices, and for a cell state of several blocks."""

    u: Roundoff
    state_sizes: tuple[int, ...]
    in_any_order = False
    """Whether sums are bounded for the worst of all orders."""

    def blocks(self, c: Number) -> tuple[Number, ...]:
        ends = list(itertools.accumulate(self.state_sizes))
        each, e = map(slice, [0, *ends], ends), c.e.expand_as(c.v)
        return tuple(Number(c.v[..., at], e[..., at], self.u, sums=c.sums and c.sums.at(at)) for at in each)

    def packed(self, *blocks: Operand) -> Number:
        shape = max((one.v.shape[:-1] for one in blocks), key=len)
        v, e = (
            torch.cat([part.expand(*shape, one.v.shape[-1]) for part, one in zip(parts, blocks, strict=True)], -1)
            for parts in zip(*((one.v, one.e) for one in blocks), strict=True)
        )
        return Number(v, e, self.u, sums=self._sums_of(blocks))

    def _sums_of(self, blocks: Sequence[Operand]) -> TermSums | None:
        """The sums of a cell state's blocks; zeros for a block that is not carried."""
        known = [one.sums for one in blocks if one.sums is not None]
        if not known:
            return None
        newest = max(known, key=lambda sums: len(sums.log))
        zeros = (newest.size.new_zeros(len(newest.size), one.v.shape[-1]) for one in blocks)
        every = [(one.sums or TermSums.begin(none)).along(newest) for one, none in zip(blocks, zeros, strict=True)]
        return TermSums.joined(every, functools.partial(torch.cat, dim=-1))

    def placed(self, block: Number, at: int) -> Number:
        """The cell state with zeros in all other blocks."""
        zeros = [block.v.new_zeros(*block.v.shape[:-1], size) for size in self.state_sizes]
        parts = [Number(zero, zero, self.u) for zero in zeros]
        return self.packed(*parts[:at], block, *parts[at + 1 :])

    def outer(self, k: Operand, v: Operand, heads: int = 1) -> Number:
        left, right = _whole(k), _whole(v)
        keys, values = (one.v.shape[-1] // heads for one in (left, right))
        rows = Number(along_values(left.v, values), along_values(left.e, values), self.u, is_gate=left.is_gate)
        return rows * Number(along_keys(right.v, heads, keys), along_keys(right.e, heads, keys), self.u)

    def spread(self, f: Operand, s: Operand) -> Number:
        f, count = _whole(f), s.v.shape[-1] // f.v.shape[-1]
        v, e = (along_values(one, count) for one in (f.v, f.e))
        return Number(v, e, self.u, is_gate=f.is_gate)

    def summed(self, s: Operand, f: Operand) -> Number:
        """The transpose of `spread`."""
        s, parts = _whole(s), f.v.shape[-1]
        v, e = by_head(s.v, parts), by_head(s.e, parts)
        terms = v.shape[-1]
        return self._summed_up(v.sum(-1), e.sum(-1), v.norm(dim=-1) * math.sqrt(terms), v.abs().sum(-1), terms)

    def by_key(self, s: Operand, q: Operand, heads: int = 1) -> Number:
        s, q = _whole(s), _whole(q)
        if s.errors is not None:
            rows = _by_head(q, heads)
            e = read_by(_matrix(s, heads, rows), s.errors, rows, self.u, surely=self.in_any_order)
            return stored(made := by_key(s.v, q.v, heads), flat(e, 2) + made.abs() * self.u.stored, self.u)
        size, error = q.v.abs(), by_key(s.e, q.v.abs() + q.e, heads)
        keys = q.v.shape[-1] // heads
        lengths = flat(matrix(s.v, heads, keys).norm(dim=-2) * by_head(q.v, heads).norm(dim=-1, keepdim=True), 2)
        error = error + by_key(s.v.abs(), q.e, heads)
        return self._summed_up(by_key(s.v, q.v, heads), error, lengths, by_key(s.v.abs(), size, heads), keys)

    def by_value(self, s: Operand, v: Operand, heads: int = 1) -> Number:
        s, v = _whole(s), _whole(v)
        size, values = v.v.abs(), v.v.shape[-1] // heads
        error = by_value(s.e, size + v.e, heads) + by_value(s.v.abs(), v.e, heads)
        columns = matrix(s.v, heads, s.v.shape[-1] // heads // values)
        lengths = flat(columns.norm(dim=-1) * by_head(v.v, heads).norm(dim=-1, keepdim=True), 2)
        return self._summed_up(by_value(s.v, v.v, heads), error, lengths, by_value(s.v.abs(), size, heads), values)

    def _summed_up(self, v: Tensor, e: Tensor, lengths: Tensor, sizes: Tensor, terms: int) -> Number:
        """A sum of products with the error of adding up: from the lengths of the factors, ‖q‖‖s‖, and from Σ |q s|."""
        e = e + lengths * self._of_a_sum(terms) + terms * self.u.tiny
        if self.in_any_order:
            e = torch.maximum(e, e + sizes * (terms * self.u.sums))
        if self.u.products:
            e = e + sizes * (2 * self.u.products)
        return stored(v, e.add_(v.abs(), alpha=self.u.stored), self.u)

    def _of_a_sum(self, terms: int) -> float:
        """The error of a sum of so many products, per ‖q‖‖s‖."""
        return LAMBDA * math.sqrt(terms) * self.u.sums + self.u.narrow

    def carry_complex(self, p: Operand, q: Operand, c: Number, v: Operand) -> Number:
        p, q, v = _whole(p), _whole(q), _whole(v)
        at = [Off(one.v[..., None, :], one.e[..., None, :]) for one in (p, q)]
        pairs = [_by_head(one, 2) for one in (c, v)]
        made, errors = turned(at[0], at[1], pairs[0], c.errors, pairs[1], self.u)
        if self.u.regrouped:
            return self._turned_in_any_order(flat(made, 2), at, c, v)
        e = errors.lengths.expand_as(made)
        return Number(flat(made, 2), flat(e, 2), self.u, errors=errors)

    def _turned_in_any_order(self, made: Tensor, at: list[Off], c: Number, v: Number) -> Number:
        """The same for engines that may compute many steps at once: a recurrence of lengths, one for both numbers of a
        pair. A product of complex numbers errs by √5 u (Brent, Percival & Zimmermann 2007)."""

        def lengths(pairs: Tensor) -> Tensor:
            found = by_head(pairs, 2).norm(dim=-2)
            return torch.cat([found, found], -1)

        (p, q), u = at, self.u
        both = [torch.cat([one, one], -1)[..., 0, :] for one in (torch.hypot(p.v, q.v), torch.atan2(q.v, p.v))]
        decays, angle = (one.expand_as(v.v) for one in both)
        size = torch.cat([torch.hypot(p.v.abs() + p.e, q.v.abs() + q.e)] * 2, -1)[..., 0, :]
        off = torch.cat([torch.hypot(p.e, q.e)] * 2, -1)[..., 0, :]
        before = c.sums or TermSums.begin(lengths(c.v), lengths(c.each))
        own, sums = regrouped(decays, lengths(v.v), before, u, angle.remainder(2 * math.pi))
        other = before.other * size + off * lengths(c.v) + lengths(v.e) + 8 * u.tiny
        return Number(made, own * math.sqrt(5) + other, u, sums=replace(sums, other=other[-1]))

    def delta(self, s: Number, f: Operand | None, b: Operand, k: Operand, v: Operand, heads: int = 1) -> Number:
        """f ⊙ S + β k (v − (f ⊙ S)ᵀ k)ᵀ."""
        rows = max((one.number.v for one in (f, b, k, v) if one is not None), key=torch.Tensor.dim).shape[:-1]
        parts = [None if one is None else _by_head(_at_each(one, rows), heads) for one in (f, b, k, v)]
        decay, share, keys, values = parts
        assert share is not None
        assert keys is not None
        assert values is not None
        made, errors = delta_rule(_matrix(s, heads, keys), s.errors, decay, (share, keys, values), self.u)
        e = number_by_number(made, errors, self.u)
        return Number(flat(made, 3), flat(e, 3), self.u, errors=errors)


def _whole(one: Operand) -> Number:
    """A number with a bound for each value."""
    number = one.number
    return replace(number, e=number.e.expand_as(number.v))


def _at_each(one: Operand, rows: torch.Size) -> Number:
    """A number at each step and item, also if it is made of parameters alone."""
    number = _whole(one)
    v, e = (part.expand(*rows, part.shape[-1]) for part in (number.v, number.e))
    return replace(number, v=v, e=e)


def _by_head(one: Operand, heads: int) -> Off:
    number = _whole(one)
    return Off(by_head(number.v, heads), by_head(number.e, heads))


def _matrix(s: Number, heads: int, rows: Off) -> Off:
    keys = rows.v.shape[-1]
    return Off(matrix(s.v, heads, keys), matrix(s.e.expand_as(s.v), heads, keys))
